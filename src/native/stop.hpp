// Asks the caller, while an engine works, whether to stop.
#pragma once

#include <atomic>
#include <chrono>

#include "shape.hpp"

namespace microgpt {

struct Stopped {};  // thrown where the answer was yes

// Work is reported in multiply-adds. After each `budget` of them the clock is read; when 3 ms have
// passed, the caller is asked. A yes holds for the rest of the call. Only the thread that made it
// may use it, but for stopped().
class Stop {
public:
    using Ask = bool (*)(void* context);
    static constexpr Index budget = 1'000'000;

    Stop(Ask ask, void* context) : ask_(ask), context_(context) {}

    // Reads the clock, and asks if it is time to; at its first call it always is.
    bool now();
    MICROGPT_INLINE bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
    MICROGPT_INLINE void throw_if_now() {
        if (now()) throw Stopped{};
    }

    // Reports work done; may throw Stopped.
    MICROGPT_INLINE void work(Index multiply_adds) {
        if ((left -= multiply_adds) < 0) spent(true);
    }
    // The same where work must be finished first: a yes is kept for the next call of `work`.
    MICROGPT_INLINE void work_uninterrupted(Index multiply_adds) {
        if ((left -= multiply_adds) < 0) spent(false);
    }

    Index left = budget;  // until the next look at the clock

private:
    void spent(bool may_throw);
    Ask ask_;
    void* context_;
    std::chrono::steady_clock::time_point last_{};  // when the caller was last asked
    std::atomic<bool> stopped_{false};
};

}  // namespace microgpt
