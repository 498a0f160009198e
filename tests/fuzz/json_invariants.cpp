#include "invariants.hpp"

#include <array>
#include <cstddef>
#include <string>

#include "column_text.hpp"
#include "rules/json.hpp"
#include "strict_json.hpp"
#include "variants.hpp"

namespace sliding_sync::fuzz {

namespace {

using rules::content_value;
using rules::is_readable;
using rules::read_internal_metadata;
using rules::top_level_value;
using rules::Value;
using rules::ValueState;

constexpr std::array<std::string_view, 3> keys{"name", "type", "sender"};

bool same(const Value& left, const Value& right) {
    return left.state == right.state && left.text == right.text;
}

/// Everything that the rules read from one document.
struct LookupScope {
    bool readable = false;
    std::array<Value, keys.size()> content;
    std::array<Value, keys.size()> top;
    rules::InternalMetadata metadata;

    friend bool operator==(const LookupScope& left, const LookupScope& right) {
        bool equal = left.readable == right.readable &&
                     left.metadata.out_of_band_membership == right.metadata.out_of_band_membership &&
                     left.metadata.recheck_redaction == right.metadata.recheck_redaction;
        for (std::size_t i = 0; i < keys.size(); ++i) {
            equal = equal && same(left.content[i], right.content[i]) && same(left.top[i], right.top[i]);
        }
        return equal;
    }
};

LookupScope read(std::string_view document) {
    LookupScope scope;
    scope.readable = is_readable(document);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        scope.content[i] = content_value(document, keys[i]);
        scope.top[i] = top_level_value(document, keys[i]);
    }
    scope.metadata = read_internal_metadata(document);
    return scope;
}

void check_value(const Value& value) {
    const bool usable = value.state == ValueState::text;
    require(usable || value.text.empty(), "only a usable value has a text");
    require(value.column().has_value() == usable, "only a usable value is a column");
    require(value.present() == (usable || value.state == ValueState::unusable), "null is not present");
    require_storable(value.column());
}

// Whatever is wrong with a document, nothing of it is read.
void check_unreadable(std::string_view document) {
    require(!is_readable(document) && same(content_value(document, "name"), {}) &&
                same(top_level_value(document, "sender"), {}),
            "an unreadable document says nothing");
}

void check_strict(std::string_view document, const LookupScope& scope) {
    const auto object = strict_object(document);
    if (!object) {
        return;
    }
    require(scope.readable, "a valid object is readable");
    const auto check = [](const Value& value, std::optional<dom::element> expected) {
        const auto text = as_string(expected);
        const bool usable = text && text->find('\0') == std::string_view::npos;
        require(value.state == (!expected             ? ValueState::absent
                                : expected->is_null() ? ValueState::null
                                : usable              ? ValueState::text
                                                      : ValueState::unusable),
                "a value is what a strict reader says");
        require(!usable || value.text == *text, "a text is what a strict reader says");
    };
    const auto content = as_object(last_value(*object, "content"));
    for (std::size_t i = 0; i < keys.size(); ++i) {
        check(scope.top[i], last_value(*object, keys[i]));
        check(scope.content[i], content ? last_value(*content, keys[i]) : std::nullopt);
    }
    const auto is_true = [&](std::string_view key) {
        const auto value = last_value(*object, key);
        bool flag = false;
        return value && value->get_bool().get(flag) == simdjson::SUCCESS && flag;
    };
    require(scope.metadata.out_of_band_membership == is_true("out_of_band_membership") &&
                scope.metadata.recheck_redaction == is_true("recheck_redaction"),
            "a flag is what a strict reader says");
}

void check_readable(std::string_view document, const LookupScope& scope) {
    const std::string text(document);
    require(read(text + " \n") == scope, "space behind a document changes nothing");
    for (const auto* tail : {"}", "x", "{}", ","}) {
        check_unreadable(text + tail);
    }
    check_unreadable("\xEF\xBB\xBF" + text);
    check_unreadable(text.substr(0, text.rfind('}')));

    const std::string wrapped = R"({"content":)" + text + "}";
    for (std::size_t i = 0; i < keys.size(); ++i) {
        require(same(content_value(wrapped, keys[i]), scope.top[i]), "content is read as the top is");
    }
    require(same(top_level_value(with_field(document, R"("sender":"@last:o")"), "sender"),
                 {ValueState::text, "@last:o"}),
            "the last duplicate wins");
    const std::string replaced = with_field(document, R"("content":{"name":"Last"})");
    require(same(content_value(replaced, "name"), {ValueState::text, "Last"}) &&
                same(content_value(replaced, "type"), {}),
            "the last content wins as a whole");
}

}  // namespace

void check_json(std::string_view document) {
    const LookupScope scope = read(document);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        check_value(scope.content[i]);
        check_value(scope.top[i]);
        if (document.find('\\') == std::string_view::npos &&
            document.find(keys[i]) == std::string_view::npos) {
            require(scope.top[i].state == ValueState::absent && scope.content[i].state == ValueState::absent,
                    "a key that is not there is absent");
        }
    }
    require(read(document) == scope, "a document reads the same again");
    check_strict(document, scope);
    if (scope.readable) {
        check_readable(document, scope);
    } else {
        require(scope == LookupScope{}, "an unreadable document says nothing");
    }
}

}  // namespace sliding_sync::fuzz
