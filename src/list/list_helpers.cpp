#include "list/list_helpers.hpp"

#include "rules/lower_case.hpp"
#include "rules/room_versions.hpp"

extern "C" {
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

Datum lower_case_text(FunctionCallInfo call) {
    if (call->flinfo->fn_extra == nullptr) {
        static_cast<void>(text_argument(call, 0));
        static_cast<void>(text_result(call, ""));
        call->flinfo->fn_extra = call->flinfo;
    }
    const text* const argument = call_pg([&] { return DatumGetTextPP(call->args[0].value); });
    const std::string lower = rules::lower_case({VARDATA_ANY(argument), VARSIZE_ANY_EXHDR(argument)});
    return call_pg([&] {
        return PointerGetDatum(cstring_to_text_with_len(lower.data(), static_cast<int>(lower.size())));
    });
}

Datum known_room_versions(FunctionCallInfo call) {
    require_result_type(call, TEXTARRAYOID);
    return call_pg([] {
        constexpr std::size_t count = rules::known_room_versions.size();
        Datum versions[count];
        for (std::size_t i = 0; i < count; ++i) {
            const std::string_view version = rules::known_room_versions[i];
            versions[i] =
                PointerGetDatum(cstring_to_text_with_len(version.data(), static_cast<int>(version.size())));
        }
        return PointerGetDatum(
            construct_array(versions, static_cast<int>(count), TEXTOID, -1, false, TYPALIGN_INT));
    });
}

}  // namespace sliding_sync
