// What happens once when a backend loads the library.
#include "live/flush.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "fmgr.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init();
}

void _PG_init() {
    sliding_sync::define_settings();
    sliding_sync::watch_catalog();
    sliding_sync::watch_transactions();
}
