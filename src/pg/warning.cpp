#include "pg/warning.hpp"

extern "C" {
#include "mb/pg_wchar.h"
}

namespace sliding_sync {

namespace {

// Bytes outside of ASCII as \xHH.
std::string in_ascii(const std::string& text) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string result;
    for (const char character : text) {
        const auto byte = static_cast<unsigned char>(character);
        if (byte < 0x80) {
            result += character;
        } else {
            result += "\\x";
            result += digits[byte >> 4U];
            result += digits[byte & 0xFU];
        }
    }
    return result;
}

}  // namespace

void warn_client(const Warning& warning) {
    const bool is_converted = pg_get_client_encoding() != GetDatabaseEncoding();
    const auto text = [&](const std::string& original) {
        return is_converted ? in_ascii(original) : original;
    };
    const std::string message = text(warning.message);
    const std::string detail = text(warning.detail);
    const std::string hint = text(warning.hint);
    call_pg([&] {
        ereport(WARNING, errcode(warning.sqlstate), errmsg_internal("%s", message.c_str()),
                detail.empty() ? 0 : errdetail_internal("%s", detail.c_str()),
                hint.empty() ? 0 : errhint("%s", hint.c_str()));
    });
}

}  // namespace sliding_sync
