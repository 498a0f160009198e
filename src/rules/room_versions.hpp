// The room versions that readers know.
#pragma once

#include <array>
#include <string_view>

namespace sliding_sync::rules {

/// What Synapse 1.163.2 shows without experimental settings; the frequent ones first, for they are compared
/// one by one.
inline constexpr std::array<std::string_view, 15> known_room_versions{"12",
                                                                      "11",
                                                                      "10",
                                                                      "9",
                                                                      "6",
                                                                      "5",
                                                                      "1",
                                                                      "2",
                                                                      "3",
                                                                      "4",
                                                                      "7",
                                                                      "8",
                                                                      "org.matrix.msc3757.10",
                                                                      "org.matrix.msc3757.11",
                                                                      "org.matrix.hydra.11"};

}  // namespace sliding_sync::rules
