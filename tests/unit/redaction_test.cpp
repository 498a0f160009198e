#include "rules/redaction.hpp"

#include <array>
#include <gtest/gtest.h>

namespace sliding_sync::rules {
namespace {

constexpr std::string_view recheck = R"({"recheck_redaction":true})";
constexpr RedactionTarget target{.sender = "@alice:example.org", .stream_ordering = 100};

/// A redaction event that passes every check of rule 2, by someone of another server.
constexpr RedactionEvent valid{
    .stored = true,
    .rejected = false,
    .same_room = true,
    .sender = "@mod:other.org",
    .json = R"({"type":"m.room.redaction","content":{}})",
    .internal_metadata = "{}",
};

RedactionEvent with_sender(std::string_view sender) {
    auto event = valid;
    event.sender = sender;
    event.internal_metadata = recheck;
    return event;
}

bool redacted(const Redaction& redaction, const RedactionTarget& of = target) {
    return is_redacted(of, std::array{redaction}, {});
}

bool redacted(const BanRedaction& ban, const RedactionTarget& of = target) {
    return is_redacted(of, {}, std::array{ban});
}

TEST(IsRedacted, NothingNamesTheEvent) {
    EXPECT_FALSE(is_redacted(target, {}, {}));
}

// Rule 1 of docs/rules.md#redactions: neither existence nor room nor rejection of the redaction event matter
// (A6: purged ones too).
TEST(IsRedacted, Rule1WithoutRecheckUnconditionally) {
    EXPECT_TRUE(redacted(Redaction{.recheck = false, .event = {}}));
    EXPECT_TRUE(redacted(Redaction{.recheck = false, .event = valid}));
    auto event = valid;
    event.rejected = true;
    event.same_room = false;
    event.json = "";
    EXPECT_TRUE(redacted(Redaction{.recheck = false, .event = event}));
}

TEST(IsRedacted, Rule2ValidRedaction) {
    EXPECT_TRUE(redacted(Redaction{.recheck = true, .event = valid}));
}

// Before schema 94 the column is missing: every row is rechecked.
TEST(IsRedacted, RecheckIsTheDefault) {
    EXPECT_FALSE(redacted(Redaction{}));
}

TEST(IsRedacted, Rule2NotStored) {
    auto event = valid;
    event.stored = false;
    EXPECT_FALSE(redacted(Redaction{.recheck = true, .event = event}));
}

TEST(IsRedacted, Rule2Rejected) {
    auto event = valid;
    event.rejected = true;
    EXPECT_FALSE(redacted(Redaction{.recheck = true, .event = event}));
}

TEST(IsRedacted, Rule2OtherRoom) {
    auto event = valid;
    event.same_room = false;
    EXPECT_FALSE(redacted(Redaction{.recheck = true, .event = event}));
}

TEST(IsRedacted, Rule2UnreadableRedactionEvent) {
    for (const auto* json : {"", "[]", "{", R"({"type":"m.room.redaction"} x)"}) {
        auto event = valid;
        event.json = json;
        EXPECT_FALSE(redacted(Redaction{.recheck = true, .event = event})) << json;
    }
}

TEST(IsRedacted, Rule2RecheckNeedsTheSameDomain) {
    struct {
        std::string_view redacter;
        std::string_view sender;
        bool expected;
    } const cases[]{
        {"@mod:example.org", "@alice:example.org", true},
        {"@alice:example.org", "@alice:example.org", true},
        {"@mod:other.org", "@alice:example.org", false},
        {"@mod:EXAMPLE.org", "@alice:example.org", false},
        {"@mod:example.org", "@alice:example.org:8448", false},
        {"@mod:example.org:8448", "@alice:example.org:8448", true},  // the domain begins at the first colon
        {"@mod:8448", "@alice:example.org:8448", false},
        {"@mod:[::1]:8448", "@alice:[::1]:8448", true},
        {"mod", "alice", false},  // no colon, no domain: no match
        {"mod", "@alice:example.org", false},
        {"@mod:example.org", "alice", false},
        {"", "", false},
    };
    for (const auto& [redacter, sender, expected] : cases) {
        const RedactionTarget of{.sender = sender, .stream_ordering = 100};
        EXPECT_EQ(redacted(Redaction{.recheck = true, .event = with_sender(redacter)}, of), expected)
            << redacter << " redacts " << sender;
    }
}

// Without the flag the domains do not matter; metadata that cannot be read has no flag
// (docs/rules.md#internal-metadata).
TEST(IsRedacted, Rule2NoRecheckFlagAnyDomain) {
    for (const auto* metadata : {"", "{}", "null", "[", R"({"recheck_redaction":false})",
                                 R"({"recheck_redaction":null})", R"({"recheck_redaction":"true"})"}) {
        auto event = with_sender("@mod:other.org");
        event.internal_metadata = metadata;
        EXPECT_TRUE(redacted(Redaction{.recheck = true, .event = event})) << metadata;
    }
}

// The other checks are not waived for the same domain.
TEST(IsRedacted, Rule2SameDomainIsNotEnough) {
    auto event = with_sender("@mod:example.org");
    event.rejected = true;
    EXPECT_FALSE(redacted(Redaction{.recheck = true, .event = event}));
}

TEST(IsRedacted, OneOfSeveralRedactionsIsEnough) {
    auto rejected = valid;
    rejected.rejected = true;
    EXPECT_TRUE(is_redacted(target, std::array{Redaction{true, rejected}, Redaction{true, valid}}, {}));
    EXPECT_FALSE(is_redacted(target, std::array{Redaction{true, rejected}, Redaction{true, rejected}}, {}));
}

// Rule 3 of docs/rules.md#redactions (MSC4293, H92).
TEST(IsRedacted, Rule3EndOrdering) {
    struct {
        std::optional<std::int64_t> end;
        std::optional<std::int64_t> ordering;
        bool expected;
    } const cases[]{
        {std::nullopt, 100, true},
        {0, 100, true},
        {101, 100, true},
        {100, 100, false},
        {99, 100, false},
        {1, -5, true},
        {-1, -5, true},
        {-5, -1, false},
        {0, std::nullopt, true},
        {1, {}, false},
        {std::nullopt, {}, true},
        {std::int64_t{1} << 40, (std::int64_t{1} << 40) - 1, true},  // H73
    };
    for (const auto& [end, ordering, expected] : cases) {
        const RedactionTarget of{.sender = target.sender, .stream_ordering = ordering};
        EXPECT_EQ(redacted(BanRedaction{.redact_end_ordering = end, .event = valid}, of), expected)
            << "end " << end.value_or(-999) << ", ordering " << ordering.value_or(-999);
    }
}

TEST(IsRedacted, Rule3NeedsTheChecksOfRule2) {
    EXPECT_FALSE(redacted(BanRedaction{.redact_end_ordering = {}, .event = {}}));
    auto event = valid;
    event.rejected = true;
    EXPECT_FALSE(redacted(BanRedaction{.redact_end_ordering = {}, .event = event}));
    event = valid;
    event.same_room = false;
    EXPECT_FALSE(redacted(BanRedaction{.redact_end_ordering = {}, .event = event}));
    event = valid;
    event.json = "";
    EXPECT_FALSE(redacted(BanRedaction{.redact_end_ordering = {}, .event = event}));
    EXPECT_FALSE(redacted(BanRedaction{.redact_end_ordering = {}, .event = with_sender("@mod:other.org")}));
    EXPECT_TRUE(redacted(BanRedaction{.redact_end_ordering = {}, .event = with_sender("@mod:example.org")}));
}

TEST(IsRedacted, BanRedactionBesideAFailedRedaction) {
    EXPECT_TRUE(is_redacted(target, std::array{Redaction{}}, std::array{BanRedaction{{}, valid}}));
    EXPECT_FALSE(is_redacted(target, std::array{Redaction{}}, std::array{BanRedaction{50, valid}}));
}

}  // namespace
}  // namespace sliding_sync::rules
