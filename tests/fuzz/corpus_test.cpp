// The inputs that are kept for the fuzz targets, as ordinary tests: what was found once stays found.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <vector>

#include "invariants.hpp"

namespace sliding_sync::fuzz {
namespace {

void check_corpus(const char* name, void (*check)(std::string_view)) {
    int inputs = 0;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(SLIDING_SYNC_CORPUS) / name)) {
        std::ifstream file(entry.path(), std::ios::binary);
        // exactly as long as the input: the sanitizers see a read behind it
        const std::vector<char> input{std::istreambuf_iterator<char>(file), {}};
        ASSERT_TRUE(file.good() || file.eof()) << entry.path();
        EXPECT_NO_THROW(check({input.data(), input.size()})) << entry.path();
        ++inputs;
    }
    EXPECT_GT(inputs, 0) << "no corpus";
}

TEST(FuzzCorpus, Json) {
    check_corpus("json", check_json);
}

TEST(FuzzCorpus, StrippedState) {
    check_corpus("stripped_state", check_stripped_state);
}

TEST(FuzzCorpus, Redaction) {
    check_corpus("redaction", check_redaction);
}

}  // namespace
}  // namespace sliding_sync::fuzz
