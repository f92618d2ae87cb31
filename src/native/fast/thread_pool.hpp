// A pool of threads. Work is split into numbered items, and each thread takes the next one when it
// is free. Items are independent of each other and of the thread: no reduction goes across threads,
// so their number changes no bit. A thread that waits spins for some microseconds, as long as work
// usually takes to arrive, and then sleeps.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "../floating_point.hpp"

namespace microgpt::fast {

class ThreadPool {
public:
    explicit ThreadPool(int threads) {
        for (int i = 1; i < threads; i++) helpers_.emplace_back([this, i] { help(i); });
    }
    ~ThreadPool() {
        job_ = nullptr;
        announce();
        for (std::thread& helper : helpers_) helper.join();
    }
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    int threads() const { return static_cast<int>(helpers_.size()) + 1; }

    // do_item(item, thread) for each item < items; returns when all are done. The calling thread is
    // number 0; while it waits for others it calls idle() at least every 2 ms.
    template <class DoItem, class Idle>
    void run(int items, const DoItem& do_item, const Idle& idle) {
        if (helpers_.empty() || items <= 1) {
            for (int item = 0; item < items; item++) do_item(item, 0);
            return;
        }
        job_ = [](const void* context, int item, int thread) {
            (*static_cast<const DoItem*>(context))(item, thread);
        };
        context_ = &do_item, items_ = items;
        next_.store(0, std::memory_order_relaxed);
        working_.store(static_cast<int>(helpers_.size()), std::memory_order_relaxed);
        announce();
        take_items(0);
        const auto done = [this] { return working_.load(std::memory_order_acquire) == 0; };
        if (spin(done)) return;
        std::unique_lock lock(mutex_);
        while (!finished_.wait_for(lock, std::chrono::milliseconds(2), done)) {
            lock.unlock();
            idle();
            lock.lock();
        }
    }

private:
    void announce() {
        {
            std::lock_guard lock(mutex_);  // a helper that is about to sleep holds it
            generation_.fetch_add(1, std::memory_order_release);
        }
        started_.notify_all();
    }

    void help(int thread) {
        const FloatingPointMode flushing(flushing_mode);  // a new thread may have any mode
        for (unsigned seen = 0;;) {
            const auto new_work = [&] {
                return generation_.load(std::memory_order_acquire) != seen;
            };
            if (!spin(new_work)) {
                std::unique_lock lock(mutex_);
                started_.wait(lock, new_work);
            }
            seen++;
            if (!job_) return;
            take_items(thread);
            if (working_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
                { std::lock_guard lock(mutex_); }
                finished_.notify_one();
            }
        }
    }

    void take_items(int thread) {
        for (int item; (item = next_.fetch_add(1, std::memory_order_relaxed)) < items_;)
            job_(context_, item, thread);
    }

    template <class Ready>
    static bool spin(const Ready& ready) {
        const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
        do {
            for (int i = 0; i < 32; i++) {
                if (ready()) return true;
#if defined(__x86_64__)
                __builtin_ia32_pause();
#endif
            }
        } while (std::chrono::steady_clock::now() < end);
        return ready();
    }

    // Written by the caller before generation_ goes up, read by helpers after they saw it.
    void (*job_)(const void*, int item, int thread) = nullptr;
    const void* context_ = nullptr;
    int items_ = 0;
    std::atomic<int> next_{0}, working_{0};
    std::atomic<unsigned> generation_{0};
    std::mutex mutex_;
    std::condition_variable started_, finished_;
    std::vector<std::thread> helpers_;
};

}  // namespace microgpt::fast
