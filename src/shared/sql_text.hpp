// SQL that means the same whatever search_path the session has.
#pragma once

#include <string>
#include <string_view>

namespace sliding_sync {

/// Fills a statement's template: `%S` becomes the (quoted) schema of the homeserver, `%=`, `%<>`, `%+`, `%%`,
/// `%&&` and so on become operators of pg_catalog, so that no operator or table of a hostile schema can be
/// meant. Where a statement works on rows of parameters, RowsStatement puts them in place of `%R` before.
[[nodiscard]] std::string sql_text(std::string_view text, std::string_view schema = {});

}  // namespace sliding_sync
