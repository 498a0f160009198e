#include <cstddef>
#include <cstdint>

#include "invariants.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    sliding_sync::fuzz::check_redaction({reinterpret_cast<const char*>(data), size});
    return 0;
}
