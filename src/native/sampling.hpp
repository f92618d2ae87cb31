// New documents from coins: truncation, drawing, and the loop over documents. The engines give the
// probabilities. Does what `reference.sample` does, and what the engines' contract adds.
#pragma once

#include <cstdint>
#include <vector>

#include "stop.hpp"

namespace microgpt {

struct Sampling {
    double temperature;
    Index top_k;   // keep the k most probable tokens; 0: all
    double top_p;  // then the fewest that sum to at least p; 1.0: all
};

// A call of `generate`. coins: uniform random numbers in [0, 1), one for each token drawn, end
// tokens included. start: the tokens that every document begins with, 1 to block_size of them.
struct Request {
    Index count;
    const double* coins;
    Index coin_count;
    const std::int32_t* start;
    Index start_length;
    Sampling sampling;
};

// Documents without the first token of their start and without the end token.
struct Generated {
    std::vector<std::vector<std::int32_t>> documents;
    Index coins_used = 0;
};

// A model that reads one token after the other and says what may follow.
class Reader {
public:
    virtual ~Reader();
    // Reads the token at a position; those before it were read, at positions 0 and up.
    virtual void read(std::int32_t token, Index position, Stop& stop) = 0;
    // softmax(logits / temperature) after the token last read: [vocab_size]. The caller may change
    // the numbers.
    virtual double* probabilities(double temperature) = 0;
};

// Up to `count` documents. A document is begun only while coins for the longest one remain.
void generate(Reader& reader, const Request& request, Index block_size, Index vocab_size,
              Generated& generated, Stop& stop);

// Sets to zero what top_k and then top_p leave out. Ties go to the lower token. `ranked`, `merged`:
// scratch of as many tokens.
void truncate(double* probabilities, Index vocab_size, const Sampling& sampling,
              std::int32_t* ranked, std::int32_t* merged);

// random.choices: the first token whose running sum exceeds coin * total. Always within the
// vocabulary, whatever the coin.
std::int32_t draw(const double* running_sums, Index vocab_size, double coin);

}  // namespace microgpt
