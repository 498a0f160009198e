// How a function of C linkage is declared that SQL can call.
#pragma once

#include "guard/postgres.hpp"

extern "C" {
#include "fmgr.h"
}

#define SLIDING_SYNC_FUNCTION(name)                                                                          \
    extern "C" {                                                                                             \
    PG_FUNCTION_INFO_V1(name);                                                                               \
    PGDLLEXPORT Datum name(PG_FUNCTION_ARGS);                                                                \
    }                                                                                                        \
    Datum name(PG_FUNCTION_ARGS)
