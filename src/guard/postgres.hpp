// The server's headers, in the one order that works from C++: the standard library first (postgres.h
// redefines printf and friends), then everything of the server with C linkage. What PostgreSQL's majors call
// differently is in pg/versions.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

// The build hides every symbol that is not marked, and before 16 the server does not mark any.
#ifndef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

extern "C" {
#include "postgres.h"

#include "miscadmin.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"  // was in postgres.h
#endif
}

static_assert(PG_VERSION_NUM >= 150000, "PostgreSQL 15 or newer is needed");
