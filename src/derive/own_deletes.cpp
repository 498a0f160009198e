#include "derive/own_deletes.hpp"

namespace sliding_sync {

namespace {

OwnDelete* running = nullptr;

}  // namespace

OwnDelete::OwnDelete(Oid namespace_oid, bool are_rooms, IsToBeDeleted is_to_be_deleted)
    : namespace_oid_(namespace_oid), are_rooms_(are_rooms), is_to_be_deleted_(std::move(is_to_be_deleted)),
      outer_(running) {
    running = this;
}

OwnDelete::~OwnDelete() {
    running = outer_;
}

bool OwnDelete::deletes(Oid namespace_oid, bool are_rooms, std::string_view room_id,
                        std::string_view user_id) noexcept {
    return running != nullptr && running->namespace_oid_ == namespace_oid &&
           running->are_rooms_ == are_rooms && running->is_to_be_deleted_(room_id, user_id);
}

}  // namespace sliding_sync
