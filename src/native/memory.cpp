#include "memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <new>

namespace microgpt {

namespace {
constexpr std::uintptr_t kLine = 64;  // bytes of a cache line
}

Memory::~Memory() { release(); }

void Memory::release() {
    std::free(allocated_);
    allocated_ = nullptr, data_ = nullptr, count_ = 0;
}

void Memory::grow(Index count, std::size_t size) {
    if (count <= count_) return;
    release();
    // calloc: large memory comes from the system as zeros, each page at its first use.
    const Index bytes = plus(times(count, static_cast<Index>(size)), kLine);
    allocated_ = std::calloc(static_cast<std::size_t>(bytes), 1);
    if (!allocated_) throw std::bad_alloc();
    const auto past_line = reinterpret_cast<std::uintptr_t>(allocated_) % kLine;
    data_ = static_cast<char*>(allocated_) + (kLine - past_line);
    count_ = count;
}

}  // namespace microgpt
