// The rooms of a list, read through indexes without a plan. What is decided here is what the query of list_request.hpp decides;
// tests ask both.
#pragma once

#include "list/list_request.hpp"
#include "list/room_places.hpp"
#include "pg/key_scan.hpp"

namespace sliding_sync {

/// What is read of a room until it is known whether it is in the list, and where. Texts live as long as the CallerConnection; one
/// without data is NULL, or not asked for.
struct ListedRoom {
    struct varlena* room_id;
    std::uint64_t hash;
    std::string_view sender;
    std::string_view name;
    std::string_view type;
    std::int64_t position;
    std::int64_t bump_stamp;
    ItemPointerData membership;   ///< where the rows are
    ItemPointerData joined_room;  ///< invalid where there is none
    bool is_join;
    bool is_invite;
    bool has_known_state;
    std::optional<bool> is_encrypted;
    bool is_of_known_version;

    [[nodiscard]] std::string_view id() const noexcept {
        return {VARDATA_ANY(room_id), VARSIZE_ANY_EXHDR(room_id)};
    }
};

/// The tables of a list, open for its lifetime, and the rooms that were read.
class ListedRooms {
public:
    explicit ListedRooms(const ListTables& tables);

    /// False where the tables must be read by a query.
    [[nodiscard]] bool can_read() const noexcept;

    /// Finds the rooms that pass all filters, in no order. False where they take more memory than a backend should, or where a column
    /// is NULL that is NULL on no homeserver.
    [[nodiscard]] bool read(const ListTables& tables, const ListRequest& request, const ListSets& sets,
                            bool with_names);
    [[nodiscard]] std::span<ListedRoom> rooms() noexcept {
        return {rooms_, count_};
    }

    /// The columns of the result from `room_id` on, for a room that was read. C calls only.
    void fill_row(const ListedRoom& room, Datum* values, bool* nulls);

private:
    struct Wanted {
        bool senders;
        bool types;
        bool names;
    };
    [[nodiscard]] bool read_memberships(const ListRequest& request, Wanted wanted);
    [[nodiscard]] bool add_membership(const ListRequest& request, Wanted wanted, std::size_t& room,
                                      std::size_t& bytes);
    void drop_ignored(const std::string& user_id);
    void drop_by_sets(const ListTables& tables, const ListRequest& request, const ListSets& sets);
    void drop_unknown_versions(const ListRequest& request);
    void read_joined_rooms(Wanted wanted);
    void drop_by_state(const ListFilters& filters);
    template <typename IsWanted, typename Look>
    void look_up(KeyScan& scan, ItemPointerData RoomPlaces::Slot::*place, IsWanted is_wanted, Look look);
    template <typename Passes>
    void keep(Passes passes);

    KeyScan memberships_;
    KeyScan versions_;
    KeyScan joined_rooms_;
    std::optional<KeyScan> ignored_;
    ListedRoom* rooms_ = nullptr;
    std::size_t count_ = 0;
};

}  // namespace sliding_sync
