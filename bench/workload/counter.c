/* Lets a session say when callgrind counts the instructions of its backend. Inert without callgrind. */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include <valgrind/callgrind.h>

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(start_counting);
PG_FUNCTION_INFO_V1(stop_counting);

Datum
start_counting(PG_FUNCTION_ARGS)
{
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
    PG_RETURN_VOID();
}

/* Writes the profile; its name goes into the file, as the reason of the dump. */
Datum
stop_counting(PG_FUNCTION_ARGS)
{
    CALLGRIND_DUMP_STATS_AT(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    CALLGRIND_STOP_INSTRUMENTATION;
    PG_RETURN_VOID();
}
