// The one window on simdjson: walks the fields of a document in order, so that callers can let the last
// duplicate key win. Private to the JSON rules; nothing outside src/rules includes it.
//
// What is refused and what is not: structure on the walked path is checked (brackets, commas, colons, strings
// closed, UTF-8, nothing behind the document), the inside of a skipped value is not. Skipping is a loop and
// the walk descends only as deep as its caller does, so nesting of any depth is safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <simdjson.h>
#include <string>
#include <string_view>
#include <utility>

namespace sliding_sync::rules::json_walk {

namespace ondemand = simdjson::ondemand;

/// True for every error; running out of memory is no property of the document and is thrown as
/// std::bad_alloc.
[[nodiscard]] bool failed(simdjson::error_code error);

/// The JSON type of a value that was not consumed yet.
enum class Type : std::uint8_t {
    null,
    boolean,
    string,
    object,
    array,
    other,  ///< a number, or what only a lenient parser takes for one: NaN, Infinity
};
[[nodiscard]] Type type_of(ondemand::value& value);

/// simdjson skips by counting brackets, takes a string before a colon for a key, and goes on behind a bracket, comma
/// or colon that stands where a value should: it would lose its place, and read a value of another level.
[[nodiscard]] bool loses_place(ondemand::value& value);

/// Visits every field of `object` in document order: `visit(std::string_view unescaped_key,
/// ondemand::value&)` returns an error code and need not consume the value. The key lives as long as the
/// document. A key that cannot be unescaped (a lone surrogate) equals no wanted key and is passed over with
/// its value.
template <class Visit>
[[nodiscard]] simdjson::error_code walk_fields(ondemand::object& object, Visit&& visit) {
    for (auto field : object) {
        if (const auto error = field.error()) {
            return error;
        }
        std::string_view key;
        const bool is_readable_key = field.unescaped_key().get(key) == simdjson::SUCCESS;
        ondemand::value value;
        if (const auto error = field.value().get(value)) {
            return error;
        }
        if (loses_place(value)) {
            return simdjson::TAPE_ERROR;
        }
        if (!is_readable_key) {
            continue;
        }
        if (const simdjson::error_code error = visit(key, value)) {
            return error;
        }
    }
    return simdjson::SUCCESS;
}

/// `walk_fields` for a value; anything but an object has no fields and is left alone.
template <class Visit>
[[nodiscard]] simdjson::error_code walk_object(ondemand::value& value, Visit&& visit) {
    if (type_of(value) != Type::object) {
        return simdjson::SUCCESS;
    }
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) {
        return error;
    }
    return walk_fields(object, std::forward<Visit>(visit));
}

/// Visits every element of a list: `visit(ondemand::value&)`. Anything but a list has no elements.
template <class Visit>
[[nodiscard]] simdjson::error_code walk_array(ondemand::value& value, Visit&& visit) {
    if (type_of(value) != Type::array) {
        return simdjson::SUCCESS;
    }
    ondemand::array array;
    if (const auto error = value.get_array().get(array)) {
        return error;
    }
    for (auto step : array) {
        ondemand::value element;
        if (const auto error = step.get(element)) {
            return error;
        }
        if (loses_place(element)) {
            return simdjson::TAPE_ERROR;
        }
        if (const simdjson::error_code error = visit(element)) {
            return error;
        }
    }
    return simdjson::SUCCESS;
}

/// A parser with its buffers. One walk at a time.
class Reader {
public:
    /// Walks the top-level fields. False when the document cannot be read as one JSON object; what `visit`
    /// saw until then must be forgotten.
    template <class Visit>
    [[nodiscard]] bool walk(std::string_view json, Visit&& visit) {
        ondemand::document document;
        ondemand::object root;
        if (!open(json, document) || failed(document.get_object().get(root)) ||
            failed(walk_fields(root, std::forward<Visit>(visit)))) {
            return false;
        }
        return document.current_location().error() == simdjson::OUT_OF_BOUNDS;  // nothing behind the object
    }

private:
    [[nodiscard]] bool open(std::string_view json, ondemand::document& document);

    std::string padded_;  // simdjson reads past the end of its input
    ondemand::parser parser_;
};

/// Documents up to this size (bytes) share one reader per thread. An event is at most 64 KiB without its
/// `unsigned`; the rare larger document gets a reader of its own, so that a long-lived process does not keep
/// the largest buffers it ever needed.
inline constexpr std::size_t shared_reader_limit = 131'072;

[[nodiscard]] Reader& shared_reader();

/// `Reader::walk` with the right reader. `visit` must not start another walk.
template <class Visit>
[[nodiscard]] bool walk_document(std::string_view json, Visit&& visit) {
    if (json.size() <= shared_reader_limit) {
        return shared_reader().walk(json, std::forward<Visit>(visit));
    }
    Reader reader;
    return reader.walk(json, std::forward<Visit>(visit));
}

}  // namespace sliding_sync::rules::json_walk
