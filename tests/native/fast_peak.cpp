// The machine's own peak: float32 multiply-adds a second of one core, for the instruction set this file is compiled
// for. Prints GFLOP/s (an FMA counts as two), the best of nine runs. For efficiency figures, nothing else.
//   g++ -O2 -mavx2 -mfma tests/native/fast_peak.cpp && ./a.out
#include <cstdio>
#include <ctime>

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * kLanes)));

int main() {
    constexpr int kChains = 12;  // FMA latency 4 x 2 units = 8, and some more
    constexpr long kRounds = 3'000'000;
    double best = 0.0;
    float keep = 0.0f;
    for (int run = 0; run < 9; run++) {
        Vector sums[kChains], a = Vector{} + 0.999f, b = Vector{} + 0.001f;
        for (int i = 0; i < kChains; i++) sums[i] = Vector{} + float(i);
        const std::clock_t start = std::clock();  // the process's own time: others may hold the core
        for (long round = 0; round < kRounds; round++) {
#pragma GCC unroll 12
            for (int i = 0; i < kChains; i++) sums[i] = sums[i] * a + b;
        }
        const double seconds = double(std::clock() - start) / CLOCKS_PER_SEC;
        for (int i = 0; i < kChains; i++) keep += sums[i][0];
        const double gflops = 2.0 * kLanes * kChains * kRounds / seconds / 1e9;
        best = gflops > best ? gflops : best;
    }
    std::printf("%.1f\n", keep == 12345.0f ? 0.0 : best);
}
