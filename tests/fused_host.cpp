// The trainer of ibjax/training/kernel/fused.cu on a CPU: its text comes before this one (tests/test_kernel.py). What the
// threads of a block do between two barriers is a loop over them here.

#include <vector>

extern "C" int words_of_memory() { return MEMORY; }

extern "C" void train_on_host(int seeds, const int* control, const unsigned* packed, const unsigned* keys, const int* counts,
                              const float* rates, const float* parameters, const float* state, float* new_parameters,
                              float* new_state, float* moments) {
  Arrays a = {control, packed, (const uint4*)keys, counts, rates, parameters, state, new_parameters, new_state, moments};
  Control c = control_of(a);
  std::vector<float4> room((MEMORY + 3) / 4);
  std::vector<Own> own(THREADS);
  std::vector<Rates> r(THREADS);
  for (int seed = 0; seed < seeds; ++seed) {
    // What nobody has written is no number: a sum that took it would show.
    for (float4& quad : room) quad = {NAN, NAN, NAN, NAN};
    float* memory = (float*)room.data();
    int n = counts[2 * seed], buffer = 0;
    const unsigned* words = packed + (long long)seed * control[4];
    const uint4* rounds = a.keys + (long long)seed * control[5] * ROUNDS;
    Position at = {0, 0, 0};
    for (int t = 0; t < THREADS; ++t) {
      begin(a, memory, seed, t, own[t], r[t]);
      produce(memory, t, buffer, at, n, c, rounds, words);
    }
    while (at.epoch < c.epochs) {
      Position next = at.next(n, c.batch);
      for (int t = 0; t < THREADS; ++t)
        if (next.epoch < c.epochs) produce(memory, t, buffer ^ 1, next, n, c, rounds, words);
      for (int t = 0; t < THREADS; ++t) forward_and_backward(memory, t, buffer, noise_of(a, seed, t, at, rounds));
      for (int warp = 0; warp < WARPS; ++warp) gradients_by_a_warp(memory, warp, buffer, at.chunk > 0);
      if (at.ends_step(n, c.batch))
        for (int t = 0; t < THREADS; ++t) update(memory, t, own[t], r[t], at.size(n, c.batch), at.step, c);
      at = next;
      buffer ^= 1;
    }
    for (int t = 0; t < THREADS; ++t) finish(a, seed, t, own[t]);
  }
}
