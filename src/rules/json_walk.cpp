#include "rules/json_walk.hpp"

#include <new>

namespace sliding_sync::rules::json_walk {

namespace {

/// simdjson takes the type from the first letter. A token reaches up to the next one, with the spaces
/// between.
bool is_null(std::string_view token) noexcept {
    return token.starts_with("null") && token.find_first_not_of(" \t\n\r", 4) == std::string_view::npos;
}

}  // namespace

bool failed(simdjson::error_code error) {
    if (error == simdjson::MEMALLOC) {
        throw std::bad_alloc();
    }
    return error != simdjson::SUCCESS;
}

Type type_of(ondemand::value& value) {
    ondemand::json_type type{};
    if (value.type().get(type) != simdjson::SUCCESS) {
        return Type::other;
    }
    switch (type) {
    case ondemand::json_type::object:
        return Type::object;
    case ondemand::json_type::array:
        return Type::array;
    case ondemand::json_type::string:
        return Type::string;
    case ondemand::json_type::boolean:
        return Type::boolean;
    case ondemand::json_type::null:
        return is_null(value.raw_json_token()) ? Type::null : Type::other;
    default:
        return Type::other;
    }
}

bool Reader::open(std::string_view json, ondemand::document& document) {
    // Newer simdjson skips a byte order mark, the homeserver's parser does not: refuse it with every version.
    if (json.starts_with("\xEF\xBB\xBF")) {
        return false;
    }
    padded_.reserve(json.size() + simdjson::SIMDJSON_PADDING);
    padded_.assign(json);
    padded_.append(simdjson::SIMDJSON_PADDING, '\0');
    // At once to the size it may get to, since growing by each slightly larger document would allocate again.
    if (parser_.capacity() == 0 && json.size() <= shared_reader_limit &&
        failed(parser_.allocate(shared_reader_limit))) {
        return false;
    }
    return !failed(parser_.iterate(padded_.data(), json.size(), padded_.size()).get(document));
}

Reader& shared_reader() {
    thread_local Reader reader;
    return reader;
}

bool loses_place(ondemand::value& value) {
    const std::string_view token =
        value.raw_json_token();  // reaches up to the next token; the input is padded
    constexpr std::string_view no_value = ":,]}";
    return token.empty() || no_value.find(token.front()) != std::string_view::npos ||
           (token.front() == '"' && *(token.data() + token.size()) == ':');
}

}  // namespace sliding_sync::rules::json_walk
