#include "list/list_page.hpp"

#include "rules/lower_case.hpp"

extern "C" {
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "utils/tuplestore.h"
}

namespace sliding_sync {

namespace {

constexpr std::array<Oid, 13> column_types{INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
                                           TEXTOID, BOOLOID, BOOLOID, TEXTOID, INT8OID, INT8OID};

struct Sorted {
    std::uint64_t rank;  ///< decides nearly always: less is above
    std::size_t name;    ///< where the name is, in lower case
    const ListedRoom* room;
};

constexpr std::uint64_t no_name = UINT64_MAX;  // greater than the first bytes of any text

std::uint64_t descending(std::int64_t number) noexcept {
    return ~(static_cast<std::uint64_t>(number) ^ (std::uint64_t{1} << 63));
}

std::uint64_t first_bytes(std::string_view text) noexcept {
    std::uint64_t bytes = 0;
    for (std::size_t i = 0; i < sizeof bytes; ++i) {
        bytes = bytes << 8 | (i < text.size() ? static_cast<unsigned char>(text[i]) : 0);
    }
    return bytes;
}

class Order {
public:
    explicit Order(ListOrder order) : order_(order) {}

    std::vector<Sorted> sort(std::span<const ListedRoom> rooms, std::size_t first, std::size_t last) {
        std::vector<Sorted> sorted;
        sorted.reserve(rooms.size());
        for (const ListedRoom& room : rooms) {
            sorted.push_back(ranked(room));
        }
        const auto is_above = [this](const Sorted& a, const Sorted& b) {
            return a.rank != b.rank ? a.rank < b.rank : is_above_of_equal_rank(a, b);
        };
        const auto begin = sorted.begin();
        const auto from = begin + static_cast<std::ptrdiff_t>(first);
        const auto to = begin + static_cast<std::ptrdiff_t>(last);
        if (from != begin) {
            std::nth_element(begin, from, sorted.end(), is_above);
        }
        if (to != sorted.end()) {
            std::nth_element(from, to, sorted.end(), is_above);
        }
        std::sort(from, to, is_above);
        return sorted;
    }

private:
    Sorted ranked(const ListedRoom& room) {
        if (order_ != ListOrder::name) {
            return {descending(order_ == ListOrder::bump ? room.bump_stamp : room.position), 0, &room};
        }
        if (room.name == nullptr) {
            return {no_name, 0, &room};
        }
        names_.push_back(rules::lower_case(ListedRoom::view(room.name)));
        return {first_bytes(names_.back()), names_.size() - 1, &room};
    }

    [[nodiscard]] bool is_above_of_equal_rank(const Sorted& a, const Sorted& b) const {
        if (order_ == ListOrder::name && a.rank != no_name) {
            if (const int difference = names_[a.name].compare(names_[b.name]); difference != 0) {
                return difference < 0;
            }
        }
        return a.room->position != b.room->position ? a.room->position > b.room->position
                                                    : a.room->id() < b.room->id();
    }

    ListOrder order_;
    std::vector<std::string> names_;
};

// A declaration of another version is refused by the query, which knows what is the matter.
bool is_declared_as_expected(TupleDesc columns) noexcept {
    if (columns->natts != static_cast<int>(column_types.size())) {
        return false;
    }
    for (std::size_t i = 0; i < column_types.size(); ++i) {
        if (TupleDescAttr(columns, i)->atttypid != column_types[i]) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool return_page(FunctionCallInfo call, const ListTables& tables, const ListRequest& request,
                 const ListSets& sets, ListOrder order, const ListRange& range) {
    auto* const result = reinterpret_cast<ReturnSetInfo*>(call->resultinfo);
    if (!is_declared_as_expected(result->setDesc)) {
        return false;
    }
    ListedRooms list(tables);
    if (!list.can_read() || !list.read(tables, request, sets, order == ListOrder::name)) {
        return false;
    }
    const std::span<const ListedRoom> rooms = list.rooms();
    const auto total = static_cast<std::int64_t>(rooms.size());
    if (range.start >= total) {
        return true;
    }
    const std::int64_t last = std::min(range.end.value_or(total), total - 1);
    Order sorting(order);
    const std::vector<Sorted> sorted =
        sorting.sort(rooms, static_cast<std::size_t>(range.start), static_cast<std::size_t>(last) + 1);
    call_pg([&](PgFrame frame) {
        for (std::int64_t place = range.start; place <= last; ++place) {
            Datum values[column_types.size()];
            bool nulls[column_types.size()] = {};
            values[0] = Int64GetDatum(place);
            values[1] = Int64GetDatum(total);
            list.fill_row(frame, *sorted[static_cast<std::size_t>(place)].room, values + 2, nulls + 2);
            tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
        }
    });
    return true;
}

}  // namespace sliding_sync
