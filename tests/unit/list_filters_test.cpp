#include "rules/list_filters.hpp"

#include <gtest/gtest.h>

#include "rules/lower_case.hpp"

namespace sliding_sync::rules {
namespace {

using Rooms = std::vector<std::string>;

TEST(DirectRooms, AllListsOfAllUsers) {
    EXPECT_EQ(direct_rooms(R"({"@a:x": ["!1:x", "!2:x"], "@b:x": ["!3:x"]})"),
              (Rooms{"!1:x", "!2:x", "!3:x"}));
    EXPECT_EQ(direct_rooms(R"({"": ["\u0021\u0031"]})"), Rooms{"!1"});
    EXPECT_EQ(direct_rooms("{}"), Rooms{});
}

TEST(DirectRooms, WhatIsNoListOfStringsIsPassedOver) {
    EXPECT_EQ(
        direct_rooms(R"({"a": null, "b": 1, "c": "!c", "d": {"x": ["!d"]}, "e": [1, null, ["!e"], "!f"]})"),
        Rooms{"!f"});
    EXPECT_EQ(direct_rooms(R"({"a": ["\u0000", "\ud800", "!b"]})"), Rooms{"!b"});
}

TEST(DirectRooms, TheLastOfTwoListsOfAUserCounts) {
    EXPECT_EQ(direct_rooms(R"({"a": ["!1"], "\u0061": ["!2"]})"), Rooms{"!2"});
    EXPECT_EQ(direct_rooms(R"({"a": ["!1"], "a": null})"), Rooms{});
}

TEST(DirectRooms, AnUnreadableDocumentHasNone) {
    for (const char* const content : {"", "[]", "null", "[\"!1\"]", "{", R"({"a": ["!1"]} more)",
                                      R"({"a": ["!1",]})", "\xEF\xBB\xBF{}"}) {
        EXPECT_EQ(direct_rooms(content), Rooms{}) << content;
    }
}

TEST(NamesAServer, NeedsOneStringInAList) {
    EXPECT_TRUE(names_a_server(R"({"content": {"via": ["x"]}})"));
    EXPECT_TRUE(names_a_server(R"({"content": {"via": [1, {}, ""]}})"));
    for (const char* const event :
         {"", "{}", R"({"content": {}})", R"({"content": {"via": []}})", R"({"content": {"via": "x"}})",
          R"({"content": {"via": [1, ["x"]]}})", R"({"via": ["x"]})", R"({"content": {"via": ["x"}})",
          R"({"content": {"via": ["x"], "via": []}})"}) {
        EXPECT_FALSE(names_a_server(event)) << event;
    }
}

TEST(LowerCase, EachCodePointByItself) {
    EXPECT_EQ(lower_case("Tea TIME 7"), "tea time 7");
    EXPECT_EQ(lower_case("ÀÉ ΣΊΣΥΦΟΣ Ж 𐐀"), "àé σίσυφοσ ж 𐐨");
    EXPECT_EQ(lower_case("İ ẞ ß ǅ K"), "i ß ß ǆ k");
    EXPECT_EQ(lower_case(""), "");
}

TEST(LowerCase, BrokenTextStaysAsItIs) {
    for (const std::string text :
         {"\xC3", "a\xFF", "\xC0\x80", "\xE2\x82", "\xF5\x80\x80\x80", "\x80", "\xE2\x28\xA1"}) {
        EXPECT_EQ(lower_case(text), text);
    }
    EXPECT_EQ(lower_case("\xFF"
                         "A\xC3"
                         "B"),
              "\xFF"
              "a\xC3"
              "b");
}

}  // namespace
}  // namespace sliding_sync::rules
