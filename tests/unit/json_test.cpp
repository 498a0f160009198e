#include "rules/json.hpp"

#include <gtest/gtest.h>
#include <ostream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace sliding_sync::rules {

void PrintTo(const Value& value, std::ostream* out) {
    *out << "state " << static_cast<int>(value.state) << ", text \"" << value.text << '"';
}

static bool operator==(const Value& left, const Value& right) {
    return left.state == right.state && left.text == right.text;
}

namespace {

using namespace std::string_literals;

Value text(std::string value) {
    return {ValueState::text, std::move(value)};
}
const Value absent{ValueState::absent, {}};
const Value null{ValueState::null, {}};
const Value unusable{ValueState::unusable, {}};

std::string nested(std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
}

struct Case {
    const char* name;
    std::string json;
    Value expected;
};

void PrintTo(const Case& test_case, std::ostream* out) {
    *out << test_case.name;
}

std::string case_name(const testing::TestParamInfo<Case>& test) {
    return test.param.name;
}

// The value of content.name.
class ContentValue : public testing::TestWithParam<Case> {};

TEST_P(ContentValue, Is) {
    EXPECT_EQ(content_value(GetParam().json, "name"), GetParam().expected) << GetParam().json.substr(0, 200);
}

// Each line of the table of docs/rules.md#values.
INSTANTIATE_TEST_SUITE_P(
    Spec33, ContentValue,
    testing::Values(
        Case{"Plain", R"({"type":"m.room.name","content":{"name":"Ops"}})", text("Ops")},
        Case{"FieldMissing", R"({"content":{"topic":"Ops"}})", absent},
        Case{"FieldNull", R"({"content":{"name":null}})", null},
        Case{"FieldNullWithSpace", "{\"content\":{\"name\": null \n}}", null},
        Case{"Integer", R"({"content":{"name":1}})", unusable},
        Case{"Float", R"({"content":{"name":-1.5e3}})", unusable},
        Case{"True", R"({"content":{"name":true}})", unusable},
        Case{"False", R"({"content":{"name":false}})", unusable},
        Case{"List", R"({"content":{"name":["l"]}})", unusable},
        Case{"EmptyList", R"({"content":{"name":[]}})", unusable},
        Case{"Object", R"({"content":{"name":{"name":"inner"}}})", unusable},
        Case{"EmptyObject", R"({"content":{"name":{}}})", unusable},
        Case{"EmptyString", R"({"content":{"name":""}})", text("")},
        Case{"NulOnly", R"({"content":{"name":"\u0000"}})", unusable},
        Case{"NulInside", R"({"content":{"name":"a\u0000b"}})", unusable},
        Case{"LoneHighSurrogate", R"({"content":{"name":"a\ud800b"}})", unusable},
        Case{"LoneHighSurrogateAtEnd", R"({"content":{"name":"\ud83d"}})", unusable},
        Case{"LoneLowSurrogate", R"({"content":{"name":"\ude00"}})", unusable},
        Case{"HighSurrogateBeforeOtherEscape", R"({"content":{"name":"\ud800\ue000"}})", unusable},
        Case{"SwappedSurrogates", R"({"content":{"name":"\ude00\ud83d"}})", unusable},
        Case{"HugeValue", R"({"content":{"name":")" + std::string(1 << 20, 'x') + R"("}})",
             text(std::string(1 << 20, 'x'))},
        Case{"ContentMissing", R"({"type":"m.room.name","name":"not here"})", absent},
        Case{"ContentNull", R"({"content":null})", absent},
        Case{"ContentString", R"({"content":"name"})", absent},
        Case{"ContentNumber", R"({"content":12})", absent},
        Case{"ContentList", R"({"content":[{"name":"Ops"}]})", absent},
        Case{"ContentEmpty", R"({"content":{}})", absent},
        Case{"DuplicateKeyLastWins", R"({"content":{"name":"a","name":"b"}})", text("b")},
        Case{"DuplicateKeyLastWinsThoughNull", R"({"content":{"name":"a","name":null}})", null},
        Case{"DuplicateKeyLastWinsThoughUnusable", R"({"content":{"name":"a","name":"\ud800"}})", unusable},
        Case{"DuplicateKeyLastWinsOverUnusable", R"({"content":{"name":{"x":1},"name":"b"}})", text("b")},
        Case{"DuplicateKeyLastWinsEscaped", R"({"content":{"name":"a","\u006eame":"b"}})", text("b")},
        Case{"DuplicateContentLastWins", R"({"content":{"name":"a"},"x":1,"content":{"name":"b"}})",
             text("b")},
        Case{"DuplicateContentLastWinsWithoutField", R"({"content":{"name":"a"},"content":{"topic":"b"}})",
             absent},
        Case{"DuplicateContentLastWinsNoObject", R"({"content":{"name":"a"},"content":7})", absent},
        Case{"NaNElsewhere", R"({"x":NaN,"content":{"x":NaN,"name":"Ops"}})", text("Ops")},
        Case{"InfinityElsewhere", R"({"content":{"x":Infinity,"y":-Infinity,"name":"Ops"}})", text("Ops")},
        Case{"HugeNumbersElsewhere",
             R"({"x":1e400,"content":{"y":-123456789012345678901234567890,"name":"Ops"}})", text("Ops")},
        Case{"NaN", R"({"content":{"name":NaN}})", unusable},
        Case{"Infinity", R"({"content":{"name":Infinity}})", unusable},
        Case{"NegativeInfinity", R"({"content":{"name":-Infinity}})", unusable},
        Case{"HugeExponent", R"({"content":{"name":1e400}})", unusable},
        Case{"HugeInteger", R"({"content":{"name":123456789012345678901234567890}})", unusable}),
    case_name);

// H59: verbatim. H65: escapes.
INSTANTIATE_TEST_SUITE_P(
    EscapesAndEncoding, ContentValue,
    testing::Values(
        Case{"EscapedKey", R"({"content":{"\u006eame":"Ops"}})", text("Ops")},
        Case{"EscapedContentKey", R"({"c\u006fntent":{"name":"Ops"}})", text("Ops")},
        Case{"KeyPrefix", R"({"content":{"nam":"a","names":"b","":"c","name\\":"d"}})", absent},
        Case{"KeyWithNul", R"({"content":{"name\u0000":"a"}})", absent},
        Case{"LoneSurrogateInKey", R"({"content":{"\ud800":"a","name":"Ops","name\udc00":"b"}})",
             text("Ops")},
        Case{"LoneSurrogateInTopKey", R"({"\ud800":{"name":"x"},"content":{"name":"Ops"}})", text("Ops")},
        Case{"LoneSurrogateElsewhere", R"({"x":"\ud800","content":{"topic":"\ud800","name":"Ops"}})",
             text("Ops")},
        Case{"NulElsewhere", R"({"x":"\u0000","content":{"topic":"\u0000","name":"Ops"}})", text("Ops")},
        Case{"SurrogatePair", R"({"content":{"name":"\ud83d\ude00"}})", text("\xF0\x9F\x98\x80")},
        Case{"SimpleEscapes", R"({"content":{"name":"\"\\\/\b\f\n\r\t"}})", text("\"\\/\b\f\n\r\t")},
        Case{"ReplacementCharacter", R"({"content":{"name":"\ufffd"}})", text("\xEF\xBF\xBD")},
        Case{"RawUtf8", "{\"content\":{\"name\":\"Caf\xC3\xA9 \xF0\x9F\x98\x80\"}}",
             text("Caf\xC3\xA9 \xF0\x9F\x98\x80")},
        Case{"Whitespace", R"({"content":{"name":"  \u200f "}})", text("  \xE2\x80\x8F ")},
        Case{"SpaceAround", " \t\r\n{ \"content\" : { \"name\" : \"Ops\" } } \n", text("Ops")},
        Case{"BracketsInStrings", R"({"x":"}]{[,:\"","content":{"y":"}}","name":"]}"}})", text("]}")},
        Case{"DeepElsewhere", R"({"x":)" + nested(100'000) + R"(,"content":{"name":"Ops"}})", text("Ops")},
        Case{"DeepInContent", R"({"content":{"x":)" + nested(100'000) + R"(,"name":"Ops"}})", text("Ops")},
        Case{"Deep", R"({"content":{"name":)" + nested(100'000) + "}}", unusable},
        Case{"NameElsewhere", R"({"name":"a","x":{"content":{"name":"b"}},"content":{"x":{"name":"c"}}})",
             absent}),
    case_name);

// Documents that are no JSON object. All hold what would be a name, so that a lenient reading shows.
class Unreadable : public testing::TestWithParam<Case> {};

TEST_P(Unreadable, HasNothing) {
    const auto& json = GetParam().json;
    EXPECT_FALSE(is_readable(json));
    EXPECT_EQ(content_value(json, "name"), absent);
    EXPECT_EQ(top_level_value(json, "sender"), absent);
}

INSTANTIATE_TEST_SUITE_P(
    Spec33, Unreadable,
    testing::Values(
        Case{"Empty", "", {}}, Case{"Space", " \n", {}}, Case{"Null", "null", {}}, Case{"Number", "12", {}},
        Case{"String", R"("sender")", {}},
        Case{"List", R"([{"sender":"@a:b","content":{"name":"Ops"}}])", {}}, Case{"Word", "sender", {}},
        Case{"TrailingWord", R"({"sender":"@a:b","content":{"name":"Ops"}} x)", {}},
        Case{"TrailingBrace", R"({"sender":"@a:b","content":{"name":"Ops"}}})", {}},
        Case{"TrailingObject", R"({"sender":"@a:b","content":{"name":"Ops"}}{})", {}},
        Case{"TrailingList", R"({"sender":"@a:b","content":{"name":"Ops"}}[])", {}},
        Case{"TrailingComma", R"({"sender":"@a:b","content":{"name":"Ops"}},)", {}},
        Case{"CommaBeforeEnd", R"({"sender":"@a:b","content":{"name":"Ops"},})", {}},
        Case{"TrailingNul", "{\"sender\":\"@a:b\",\"content\":{\"name\":\"Ops\"}}\0"s, {}},
        Case{"TruncatedEnd", R"({"sender":"@a:b","content":{"name":"Ops"})", {}},
        Case{"TruncatedString", R"({"sender":"@a:b","content":{"name":"Ops)", {}},
        Case{"TruncatedAfterKey", R"({"sender":"@a:b","content":{"name":"Ops"},"x")", {}},
        Case{"TruncatedAfterColon", R"({"sender":"@a:b","content":{"name":"Ops"},"x":)", {}},
        Case{"TruncatedAfterBackslash", R"({"sender":"@a:b","content":{"name":"Ops"},"x":"\)", {}},
        Case{"OnlyOpen", "{", {}}, Case{"OnlyClose", "}", {}},
        Case{"MissingComma", R"({"sender":"@a:b" "content":{"name":"Ops"}})", {}},
        Case{"MissingColon", R"({"sender":"@a:b","content"{"name":"Ops"}})", {}},
        Case{"MissingQuotes", R"({"sender":"@a:b",content:{"name":"Ops"}})", {}},
        Case{"NumberAsKey", R"({"sender":"@a:b",1:2,"content":{"name":"Ops"}})", {}},
        Case{"UnclosedListBefore", R"({"sender":"@a:b","x":[1,"content":{"name":"Ops"}})", {}},
        Case{"RawControlCharacter", "{\"sender\":\"@a:b\",\"content\":{\"name\":\"O\nps\"}}", {}},
        Case{"InvalidUtf8", "{\"sender\":\"@a:b\",\"content\":{\"name\":\"Ops\",\"x\":\"\xFF\"}}", {}},
        Case{"Utf8Surrogate",
             "{\"sender\":\"@a:b\",\"content\":{\"name\":\"Ops\",\"x\":\"\xED\xA0\x80\"}}",
             {}},
        Case{"TruncatedUtf8", "{\"sender\":\"@a:b\",\"content\":{\"name\":\"Ops\",\"x\":\"\xC3\"}}", {}},
        // H65: python's json refuses a byte order mark in front of text, so does every version of ours.
        Case{"ByteOrderMark", "\xEF\xBB\xBF{\"sender\":\"@a:b\",\"content\":{\"name\":\"Ops\"}}", {}},
        Case{"DeepUnclosed",
             R"({"sender":"@a:b","content":{"name":"Ops"},"x":)" + std::string(100'000, '['),
             {}},
        Case{"OnlyBrackets", std::string(100'000, '['), {}},
        Case{"OnlyBraces", std::string(100'000, '{'), {}}),
    case_name);

// Broken inside the content: a name that was seen before the defect does not count.
TEST(ContentValueUnreadable, DefectBehindTheName) {
    for (const auto* json : {R"({"content":{"name":"Ops","x"}})", R"({"content":{"name":"Ops",}})",
                             R"({"content":{"name":"Ops" 1}})", R"({"content":{"name":"Ops"}]})",
                             R"({"content":{"name":"Ops"},"content":{"x":1)"}) {
        EXPECT_EQ(content_value(json, "name"), absent) << json;
    }
}

TEST(IsReadable, Objects) {
    for (const auto* json : {"{}", " { } ", R"({"a":{}})", R"({"a":[1,{"b":null}]})", R"({"a":NaN})",
                             R"({"\ud800":"\ud800"})", R"({"content":12})"}) {
        EXPECT_TRUE(is_readable(json)) << json;
    }
    EXPECT_TRUE(is_readable("{\"a\":" + nested(100'000) + "}"));
}

// What Python's json takes for a value, and what not: everywhere, also in what nobody wants.
TEST(IsReadable, Values) {
    const auto as_value = [](const std::string& value) {
        return is_readable("{\"x\":[" + value + "],\"content\":{\"y\":" + value + "}}");
    };
    std::istringstream values(
        R"(0 -0 10 0.0 1.50 1e5 1E+05 1e-0 -12.5e-7 1e400 -1e-99999999999 null true false NaN Infinity
        -Infinity "" "\\\"\/\b\f\n\r\t\u00e9\uD83D\ude00" "\ud800\udbff" "\udc00\\ud800" [] {} [[],{}] [{"":[]},null])");
    std::istringstream no_values(
        R"(01 -01 00 +1 - --1 1. .5 1.e5 1e 1e+ 1e5.0 0x1 1_0 1a nul nullx Null True trueish fals nan
        -NaN +NaN Inf -Inf inf Infinit +Infinity -nul 'x' "\x" "\u12" "\u12g4" "\U0041" "\) [1,] [,1] [ ] [1} {1} {,} {"a"}
        {"a":} {"a":1,} {"a"::1} {a:1} {"a":1] /*x*/1 {"a":1"b":2} [1"x"])");
    for (std::string value; values >> value;) {
        EXPECT_TRUE(as_value(value)) << value;
    }
    for (std::string value; no_values >> value;) {
        EXPECT_FALSE(as_value(value)) << value;
    }
    for (const auto* value : {" 1 ", "\t[\n1\r,2 ] ", "[ ]", "{ }", "{ \"a\" : 1 , \"b\" : 2 }"}) {
        EXPECT_TRUE(as_value(value)) << value;
    }
    for (const auto* value : {"", " ", "\f1", "1 2", "[1 2]", "- 1", "nul l", "\"\n\"", "\"\x1F\""}) {
        EXPECT_FALSE(as_value(value)) << value;
    }
    EXPECT_TRUE(as_value(std::string(100'000, '9')));
}

// Each form of RFC 3629 at its bounds and just beyond them.
TEST(IsReadable, Utf8) {
    const auto as_text = [](const std::string& text) { return is_readable("{\"x\":\"" + text + "\"}"); };
    for (const auto* text : {"\x7F", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                             "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF3\xBF\xBF\xBF", "\xF4\x8F\xBF\xBF"}) {
        EXPECT_TRUE(as_text(text)) << text;
        EXPECT_TRUE(as_text("12345678" + std::string(text) + "x")) << text;
    }
    for (const auto* text :
         {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x7F", "\xC2\xC0", "\xE0\x9F\xBF", "\xE2\x82",
          "\xE2\x82\x7F", "\xE2\x82\xC0", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF0\x90\x80",
          "\xF0\x90\x80\x7F", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF"}) {
        EXPECT_FALSE(as_text(text)) << text;
        EXPECT_FALSE(as_text("12345678" + std::string(text) + "x")) << text;
    }
}

// H46: the sender out of the event itself.
TEST(TopLevelValue, ReadsTheTopOnly) {
    EXPECT_EQ(top_level_value(R"({"content":{"sender":"@x:y"},"sender":"@a:b"})", "sender"), text("@a:b"));
    EXPECT_EQ(top_level_value(R"({"sender":"@a:b","sender":"@c:d"})", "sender"), text("@c:d"));
    EXPECT_EQ(top_level_value(R"({"content":{"sender":"@x:y"}})", "sender"), absent);
    EXPECT_EQ(top_level_value(R"({"sender":null})", "sender"), null);
    EXPECT_EQ(top_level_value(R"({"sender":["@a:b"]})", "sender"), unusable);
    EXPECT_EQ(top_level_value(R"({"sender":"\u0000"})", "sender"), unusable);
}

TEST(ValueTest, ColumnIsTheUsableText) {
    EXPECT_EQ(text("Ops").column(), "Ops");
    EXPECT_EQ(text("").column(), "");
    EXPECT_EQ(absent.column(), std::nullopt);
    EXPECT_EQ(null.column(), std::nullopt);
    EXPECT_EQ(unusable.column(), std::nullopt);
}

TEST(ValueTest, PresentIsAnythingButNull) {
    EXPECT_TRUE(text("").present());
    EXPECT_TRUE(unusable.present());
    EXPECT_FALSE(absent.present());
    EXPECT_FALSE(null.present());
}

// Every size around the eight characters that are looked at together, and nothing behind the text.
TEST(JsonText, EverySize) {
    for (std::size_t size = 0; size < 300; ++size) {
        const std::string name(size, 'n');
        const std::string json = R"({"content":{"name":")" + name + R"("}})";
        const std::vector<char> exact(json.begin(), json.end());
        EXPECT_EQ(content_value({exact.data(), exact.size()}, "name"), text(name)) << size;
        EXPECT_FALSE(is_readable({exact.data(), exact.size() - 1})) << size;
    }
}

TEST(InternalMetadataTest, OnlyTrueSetsAFlag) {
    const auto both = [](std::string_view json) {
        const auto metadata = read_internal_metadata(json);
        return std::pair(metadata.out_of_band_membership, metadata.recheck_redaction);
    };
    EXPECT_EQ(both("{}"), std::pair(false, false));
    EXPECT_EQ(both(R"({"out_of_band_membership":true})"), std::pair(true, false));
    EXPECT_EQ(both(R"({"recheck_redaction": true ,"stream_ordering":7})"), std::pair(false, true));
    EXPECT_EQ(both(R"({"recheck_redaction":true,"out_of_band_membership":true})"), std::pair(true, true));
    EXPECT_EQ(both(R"({"recheck_redaction":true,"recheck_redaction":false})"), std::pair(false, false));
    EXPECT_EQ(both(R"({"recheck_redaction":false,"recheck_redaction":true})"), std::pair(false, true));
    EXPECT_EQ(both(R"({"recheck_redaction":"true","out_of_band_membership":1})"), std::pair(false, false));
    EXPECT_EQ(both(R"({"recheck_redaction":null,"out_of_band_membership":[true]})"), std::pair(false, false));
    EXPECT_EQ(both(R"({"x":{"recheck_redaction":true}})"), std::pair(false, false));
    EXPECT_TRUE(read_internal_metadata(R"({"soft_failed": true})").soft_failed);
    EXPECT_FALSE(read_internal_metadata(R"({"soft_failed": 1, "recheck_redaction": true})").soft_failed);
}

// docs/rules.md#internal-metadata: unreadable means no flag.
TEST(InternalMetadataTest, UnreadableSetsNoFlag) {
    for (const auto* json :
         {"", "null", "[]", R"({"recheck_redaction":true)", R"({"recheck_redaction":true} x)",
          R"({"recheck_redaction":true,"out_of_band_membership":true]})",
          R"({"recheck_redaction":true,"x":trueish})"}) {
        const auto metadata = read_internal_metadata(json);
        EXPECT_FALSE(metadata.recheck_redaction) << json;
        EXPECT_FALSE(metadata.out_of_band_membership) << json;
    }
}

}  // namespace
}  // namespace sliding_sync::rules
