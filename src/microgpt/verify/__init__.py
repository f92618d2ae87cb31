"""Is a program the same as another? Runs both in a cage and compares what they compute.

Read in this order:

- `programs`: what can be verified (a Python file, an engine, a command), and how one run of it
  goes.
- `sandbox` and `cage`: the run itself, within limits. `cage` is a script that the sandbox starts.
- `probe` and `recording`: what a Python program computes, told from inside its process, and read
  here.
- `rewrite`: another number of steps or another seed, written into a program's text.
- `floats`, `compare`: the first number or byte in which two recordings differ.
- `cases`, `verifier`, `verdict`: several runs of both programs, the answer, and its text.
- `gradients`: a program's gradients against finite differences of its own loss.
- `exported`: a model file or an export against the training it came from.
- `engine_program`: the reference's training loop on an engine of the package; a script.

Everything here returns data or text. Only the command line prints.
"""
