// Which instruction sets were compiled in and run on this processor.
#pragma once

#include <string>
#include <vector>

namespace microgpt {

// Names, best first; "baseline" is always the last.
const std::vector<std::string>& instruction_sets();

// The set of that name, or the best one for "". Throws std::invalid_argument for one that is
// unknown or does not run here.
std::string choose_instruction_set(const std::string& name);

}  // namespace microgpt
