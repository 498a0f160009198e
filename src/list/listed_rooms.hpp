// The rooms of a list, read through indexes without a plan. What is decided here is what the query of
// list_request.hpp decides; tests ask both.
#pragma once

#include "list/list_request.hpp"
#include "list/listed_room.hpp"
#include "pg/key_scan.hpp"

namespace sliding_sync {

/// The tables of a list, open for its lifetime, and the rooms that were read.
class ListedRooms {
public:
    explicit ListedRooms(const ListTables& tables);

    /// False where the tables must be read by a query.
    [[nodiscard]] bool can_read() const noexcept;

    /// Finds the rooms that pass all filters, in no order. False where they take more memory than a backend
    /// should, or where a column is NULL that is NULL on no homeserver.
    [[nodiscard]] bool read(const ListTables& tables, const ListRequest& request, const ListSets& sets,
                            bool with_names);
    [[nodiscard]] std::span<ListedRoom> rooms() noexcept {
        return {rooms_, count_};
    }

    /// The columns of the result from `room_id` on, for a room that was read.
    void fill_row(PgFrame frame, const ListedRoom& room, Datum* values, bool* nulls);

private:
    struct Wanted {
        bool types;
        bool names;
    };
    [[nodiscard]] bool find_memberships(PgFrame frame, const std::string& user_id);
    [[nodiscard]] bool read_memberships(PgFrame frame, const ListRequest& request, Wanted wanted);
    [[nodiscard]] bool add_membership(PgFrame frame, const ListRequest& request, Wanted wanted);
    [[nodiscard]] bool drop_ignored(const ListTables& tables, const std::string& user_id);
    void drop_by_sets(const ListTables& tables, const ListRequest& request, const ListSets& sets);
    void drop_unknown_versions(const ListRequest& request);
    void read_joined_rooms(Wanted wanted);
    void drop_by_state(const ListFilters& filters);
    template <typename Passes>
    void keep(Passes passes);

    KeyScan memberships_;
    KeyScan versions_;
    KeyScan joined_rooms_;
    std::uint64_t* found_ = nullptr;  ///< the places of memberships, as numbers
    std::size_t found_count_ = 0;
    ListedRoom* rooms_ = nullptr;
    std::size_t count_ = 0;
    KeptTexts texts_;
};

}  // namespace sliding_sync
