#include "stop.hpp"

namespace microgpt {

bool Stop::now() {
    const auto time = std::chrono::steady_clock::now();
    if (!stopped() && time - last_ >= std::chrono::milliseconds(3)) {
        if (ask_(context_)) stopped_.store(true, std::memory_order_relaxed);
        last_ = std::chrono::steady_clock::now();
    }
    return stopped();
}

void Stop::spent(bool may_throw) {
    left = budget;
    if (now() && may_throw) throw Stopped{};
}

}  // namespace microgpt
