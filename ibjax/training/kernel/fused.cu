// Trains small multilayer perceptrons: one block of threads a network, whose weights stay on the chip for many epochs.
//
// Four warps compute, one on each scheduler of a multiprocessor; a thread takes PATTERNS patterns at a time forward and
// backward in registers. Four warps produce: they shuffle and fetch the next patterns meanwhile, and update the weights.
// The weights' gradients are products of activations and deltas on the matrix units, whose numbers have 11 bits: every
// float32 is the sum of two of those, and three of the four products of sums are taken. All sums have a fixed order.
//
// The same source is compiled for the CPU by the tests, where loops over threads stand for the stretches between two
// barriers, and vectors over the lanes of a warp for what its threads do together.
//
// Before it stand (ibjax/training/ptx.py writes them)
//   WIDTHS    units of each layer, from the input to the output
//   PATTERNS  1 or 2
//   RELU      1, or 0 for tanh, of the hidden layers
//   SOFTMAX   1, or 0 for a sigmoid
//   ADAM      1, or 0 for gradient descent, with or without momentum
//   NOISE     1: Gaussian noise on the activations of the hidden layers

#ifdef __CUDACC__
#define INLINE __device__ __forceinline__
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#define INLINE inline
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
static inline float bits_as_float(unsigned bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static inline unsigned float_as_bits(float value) { unsigned bits; std::memcpy(&bits, &value, 4); return bits; }
#endif

// ---- What stands where: all of it is known to the compiler

constexpr int WARPS = 4, LANES = 32, THREADS = WARPS * LANES;  // that compute; as many produce
constexpr int CHUNK = THREADS * PATTERNS;                      // patterns at a time
constexpr int STRIDE = LANES * PATTERNS + 16;                  // of the patterns of a delta: neighbours in other banks
constexpr int PAIR_STRIDE = 2 * LANES * PATTERNS + 4;          // of those of a pair of activations: likewise
constexpr int ROUNDS = 24;                                     // of the shuffle
constexpr int TILE_ROWS = 16, TILE_COLUMNS = 8, TILE = TILE_ROWS * TILE_COLUMNS;

INLINE constexpr int units(int layer) { constexpr int widths[] = {WIDTHS}; return widths[layer]; }
constexpr int all_widths[] = {WIDTHS};
constexpr int LAYERS = sizeof(all_widths) / sizeof(int) - 1, LAST = LAYERS - 1;
constexpr int FEATURES = all_widths[0], CLASSES = all_widths[LAYERS];
INLINE constexpr int up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

// Layers whose gradients share tiles: a group's tiles are the products of its rows (activations, and one of ones for
// the biases) with its columns (deltas); those of different layers of a group are not used.
struct Layout {
  int parameters;            // of the network
  int bias[LAYERS];          // place of a layer's biases, [out], which its kernel, [in][out], follows
  int unit[LAYERS + 1];      // units of the hidden layers before a layer
  int group[LAYERS];         // of a layer
  int row[LAYERS];           // of a layer's first activation in its group
  int column[LAYERS];        // of a layer's first delta in its group
  int groups;
  int rows[LAYERS];          // of a group, without that of ones, which comes after them
  int columns[LAYERS];       // of a group
  int row_tiles[LAYERS], column_tiles[LAYERS];
  int first_tile[LAYERS];    // of a group
  int tiles;
  int first_pair[LAYERS];    // of a group's activations, stored in pairs, rows r and r + 8 of a tile; inputs are not
  int pairs;
  int first_column[LAYERS];  // of a group's deltas
  int stored_columns;
  int largest_product;       // in * out of the largest layer
};

INLINE constexpr Layout make_layout() {
  Layout l{};
  for (int k = 0; k < LAYERS; ++k) {
    int in = all_widths[k], out = all_widths[k + 1];
    l.bias[k] = l.parameters;
    l.parameters += out * (in + 1);
    l.unit[k + 1] = l.unit[k] + out;
    if (in * out > l.largest_product) l.largest_product = in * out;
    int chosen = l.groups;
    for (int g = 1; g < l.groups && k > 0; ++g)  // the first group that has room; the inputs, group 0, stand alone
      if (l.rows[g] + in + 1 <= l.row_tiles[g] * TILE_ROWS && l.columns[g] + out <= l.column_tiles[g] * TILE_COLUMNS) {
        chosen = g;
        break;
      }
    if (chosen == l.groups) {
      l.row_tiles[chosen] = up(in + 1, TILE_ROWS) / TILE_ROWS;
      l.column_tiles[chosen] = up(out, TILE_COLUMNS) / TILE_COLUMNS;
      ++l.groups;
    }
    l.group[k] = chosen;
    l.row[k] = l.rows[chosen];
    l.column[k] = l.columns[chosen];
    l.rows[chosen] += in;
    l.columns[chosen] += out;
  }
  for (int g = 0; g < l.groups; ++g) {
    l.first_tile[g] = l.tiles;
    l.tiles += l.row_tiles[g] * l.column_tiles[g];
    l.first_pair[g] = l.pairs;
    l.pairs += g == 0 ? 0 : l.row_tiles[g] * TILE_ROWS / 2;
    l.first_column[g] = l.stored_columns;
    l.stored_columns += l.columns[g];
  }
  return l;
}
constexpr Layout LAYOUT = make_layout();

constexpr int PARAMETERS = LAYOUT.parameters, HIDDEN = LAYOUT.unit[LAST], TILES = LAYOUT.tiles;
constexpr int OWNED = up(PARAMETERS, THREADS) / THREADS;  // parameters that a producer updates
// Small networks are straight code; the inner loops alone of others.
constexpr bool SMALL = LAYOUT.largest_product <= 1024 && HIDDEN <= 96 && TILES <= 12;
constexpr int OUTER = SMALL ? 1024 : 1;
constexpr int PARTIAL_SUMS = SMALL ? WARPS : 1;  // of a gradient: a warp's patterns each, or one warp takes all of a tile

// The block's memory, in words of four bytes. Tiles are read whole: what follows the last row must be memory as well.
constexpr int WEIGHTS = 0;
constexpr int WORDS = WEIGHTS + up(PARAMETERS, 4);           // [2][CHUNK]: one buffer is read, one is filled
constexpr int PAIRS = LAYOUT.pairs, PATTERN_ROWS = WORDS + 2 * CHUNK;
constexpr int COLUMNS = PAIRS * PAIR_STRIDE;                 // after a warp's pairs
constexpr int ROWS_OF_A_WARP = COLUMNS + LAYOUT.stored_columns * STRIDE;
constexpr int PARTS = PATTERN_ROWS + WARPS * ROWS_OF_A_WARP;  // [PARTIAL_SUMS][TILES][TILE], of the gradients
constexpr int PART = TILES * TILE;
INLINE constexpr int beyond(int words) { return words > TILE_COLUMNS * STRIDE ? words : TILE_COLUMNS * STRIDE; }
constexpr int MEMORY = PARTS + beyond(PARTIAL_SUMS * PART);

// Which of the hidden units, by number, stands in a row of the stored pairs; HIDDEN for ones, and where nothing is read.
struct Sources { int unit[2 * PAIRS + 2]; };
INLINE constexpr Sources make_sources() {
  Sources s{};
  Layout l = make_layout();
  for (int i = 0; i < 2 * PAIRS; ++i) s.unit[i] = HIDDEN;
  for (int k = 1; k < LAYERS; ++k)
    for (int i = 0; i < all_widths[k]; ++i) {
      int row = l.row[k] + i, pair = l.first_pair[l.group[k]] + row / TILE_ROWS * (TILE_ROWS / 2) + row % 8;
      s.unit[2 * pair + row / 8 % 2] = l.unit[k - 1] + i;
    }
  return s;
}
constexpr Sources SOURCES = make_sources();

// Where the gradient of a parameter is in a partial sum.
INLINE int place_of(int parameter) {
  constexpr Layout l = make_layout();
  int layer = 0;
  for (int k = 1; k < LAYERS; ++k) layer = parameter >= l.bias[k] ? k : layer;
  int out = units(layer + 1), at = parameter - l.bias[layer], g = l.group[layer];
  int row = at < out ? l.rows[g] : l.row[layer] + at / out - 1, column = l.column[layer] + at % out;
  int tile = l.first_tile[g] + row / TILE_ROWS * l.column_tiles[g] + column / TILE_COLUMNS;
  return tile * TILE + row % TILE_ROWS * TILE_COLUMNS + column % TILE_COLUMNS;
}

// ---- Arithmetic of one thread

#ifdef __CUDACC__
INLINE float bits_as_float(unsigned bits) { return __uint_as_float(bits); }
INLINE unsigned float_as_bits(float value) { return __float_as_uint(value); }
INLINE float log2_of(float x) { float y; asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float exp2_of(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
INLINE float inverse_of(float x) { float y; asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
// Not an ordinary load: the compiler would keep all weights in registers for the way back.
INLINE float4 load_weights(const float* from) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "r"((unsigned)__cvta_generic_to_shared(from)));
  return v;
}
#else
INLINE float log2_of(float x) { return log2f(x); }
INLINE float exp2_of(float x) { return exp2f(x); }
INLINE float inverse_of(float x) { return 1.0f / x; }
INLINE float4 load_weights(const float* from) { return {from[0], from[1], from[2], from[3]}; }
#endif

constexpr float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

// x P(x^2) / Q(x^2), both of degree 4 and 1 at 0: least relative error on [-8, 8], where it reaches 1; 7e-9 before it is
// rounded, 5 units in the last place after.
INLINE float tanh_of(float x) {
  float c = fminf(fmaxf(x, -8.0f), 8.0f), s = c * c;
  float p = fmaf(fmaf(fmaf(1.529245530e-08f, s, 2.193912042e-05f), s, 3.574313130e-03f), s, 1.344679445e-01f);
  float q = fmaf(fmaf(fmaf(8.547692119e-07f, s, 3.415718093e-04f), s, 2.617480233e-02f), s, 4.678012431e-01f);
  return fmaf(p, s, 1.0f) * c * inverse_of(fmaf(q, s, 1.0f));
}
INLINE float activation_of(float z) { return RELU ? fmaxf(z, 0.0f) : tanh_of(z); }
INLINE float slope_of(float a) {  // of the activation, given by its value
  return RELU ? (a > 0.0f ? 1.0f : 0.0f) : fmaf(-a, a, 1.0f);
}

// ---- Noise: the numbers of jax.random.normal

struct Key { unsigned first, second; };

// Threefry-2x32 with 20 rounds (Salmon et al. 2011).
INLINE Key threefry(Key key, Key x) {
  constexpr int rotations[8] = {13, 15, 26, 6, 17, 29, 16, 24};
  unsigned keys[3] = {key.first, key.second, key.first ^ key.second ^ 0x1bd11bdau};
  x.first += keys[0];
  x.second += keys[1];
#pragma unroll
  for (int i = 0; i < 20; ++i) {
    int by = rotations[i % 8];
    x.first += x.second;
    x.second = (x.second << by | x.second >> (32 - by)) ^ x.first;
    if (i % 4 == 3) {
      x.first += keys[(i / 4 + 1) % 3];
      x.second += keys[(i / 4 + 2) % 3] + (unsigned)(i / 4 + 1);
    }
  }
  return x;
}

// Entry `number` of normally distributed numbers: uniform on (-1, 1), through the inverse error function, by M. Giles'
// polynomials ("Approximating the erfinv function", 2010), which XLA uses as well.
INLINE float normal_of(Key key, unsigned number) {
  Key drawn = threefry(key, {0u, number});
  float u = (bits_as_float((drawn.first ^ drawn.second) >> 9 | 0x3f800000u) - 1.0f) * 2.0f - 0.99999994f;
  u = fmaxf(u, -0.99999994f);
  float w = -LN_2 * log2_of((1.0f - u) * (1.0f + u)), p;
  constexpr float near_zero[] = {2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f, 0.00021858087f,
                                 -0.00125372503f, -0.00417768164f, 0.246640727f, 1.50140941f};
  constexpr float in_tails[] = {-0.000200214257f, 0.000100950558f, 0.00134934322f, -0.00367342844f, 0.00573950773f,
                                -0.0076224613f, 0.00943887047f, 1.00167406f, 2.83297682f};
  bool near = w < 5.0f;
  w = near ? w - 2.5f : sqrtf(w) - 3.0f;
  p = near ? near_zero[0] : in_tails[0];
#pragma unroll
  for (int i = 1; i < 9; ++i) p = fmaf(p, w, near ? near_zero[i] : in_tails[i]);
  return 1.41421356f * (p * u);
}

// ---- Forward and backward: PATTERNS patterns of one thread

// Elements FIRST ... FIRST + COUNT - 1 of the weights, read four at a time.
template <int FIRST, int COUNT> struct Weights {
  static constexpr int FROM = FIRST / 4 * 4, QUADS = (FIRST + COUNT - FROM + 3) / 4;
  float values[4 * QUADS];
  INLINE explicit Weights(const float* memory) {
#pragma unroll
    for (int i = 0; i < QUADS; ++i) {
      float4 quad = load_weights(memory + WEIGHTS + FROM + 4 * i);
      values[4 * i] = quad.x; values[4 * i + 1] = quad.y; values[4 * i + 2] = quad.z; values[4 * i + 3] = quad.w;
    }
  }
  INLINE float operator[](int i) const { return values[FIRST - FROM + i]; }
};

typedef float Unit[PATTERNS];  // one unit's value for each pattern

// This thread's patterns of a delta, and of a pair of activations.
INLINE void store(float* to, const Unit& values) {
#if PATTERNS == 2
  *(float2*)to = float2{values[0], values[1]};
#else
  *to = values[0];
#endif
}
INLINE void store_pair(float* to, const Unit& x, const Unit& y) {
#if PATTERNS == 2
  *(float4*)to = float4{x[0], y[0], x[1], y[1]};
#else
  *(float2*)to = float2{x[0], y[0]};
#endif
}
template <int PAIR> INLINE void store_pairs(float* pairs, const Unit* a) {
  if constexpr (PAIR < PAIRS) {
    constexpr int ONE = SOURCES.unit[2 * PAIR], OTHER = SOURCES.unit[2 * PAIR + 1];
    store_pair(pairs + PAIR * PAIR_STRIDE, a[ONE], a[OTHER]);
    store_pairs<PAIR + 1>(pairs, a);
  }
}

// Sums of a layer from its inputs.
template <int L> INLINE void sums_of(const float* memory, const Unit* in, Unit* z) {
  constexpr int I = all_widths[L], O = all_widths[L + 1], BIAS = LAYOUT.bias[L], KERNEL = BIAS + O;
  if constexpr (SMALL) {
    Weights<BIAS, O * (I + 1)> w(memory);
#pragma unroll
    for (int o = 0; o < O; ++o)
#pragma unroll
      for (int p = 0; p < PATTERNS; ++p) z[o][p] = w[o];
#pragma unroll
    for (int i = 0; i < I; ++i)
#pragma unroll
      for (int o = 0; o < O; ++o)
#pragma unroll
        for (int p = 0; p < PATTERNS; ++p) z[o][p] = fmaf(w[O + i * O + o], in[i][p], z[o][p]);
  } else {
    for (int first = 0; first < O; first += 8) {
      Unit sum[8];
#pragma unroll
      for (int o = 0; o < 8; ++o)
#pragma unroll
        for (int p = 0; p < PATTERNS; ++p) sum[o][p] = memory[WEIGHTS + BIAS + first + o];
      for (int i = 0; i < I; ++i)
#pragma unroll
        for (int o = 0; o < 8; ++o)  // past the end: other weights, whose sums are dropped
#pragma unroll
          for (int p = 0; p < PATTERNS; ++p)
            sum[o][p] = fmaf(memory[WEIGHTS + KERNEL + i * O + first + o], in[i][p], sum[o][p]);
#pragma unroll
      for (int o = 0; o < 8; ++o)
        if (first + o < O)
#pragma unroll
          for (int p = 0; p < PATTERNS; ++p) z[first + o][p] = sum[o][p];
    }
  }
}

// Deltas of a layer's inputs, which are activations, from those of its outputs. `in`: the activations, or with noise
// their slopes.
template <int L> INLINE void deltas_of(const float* memory, const Unit* in, const Unit* d, Unit* before) {
  constexpr int I = all_widths[L], O = all_widths[L + 1], KERNEL = LAYOUT.bias[L] + O;
  if constexpr (SMALL) {
    Weights<KERNEL, I * O> w(memory);
#pragma unroll
    for (int i = 0; i < I; ++i)
#pragma unroll
      for (int p = 0; p < PATTERNS; ++p) {
        float sum = w[i * O] * d[0][p];
#pragma unroll
        for (int o = 1; o < O; ++o) sum = fmaf(w[i * O + o], d[o][p], sum);
        before[i][p] = sum * (NOISE ? in[i][p] : slope_of(in[i][p]));
      }
  } else {
    for (int i = 0; i < I; ++i) {
      Unit sum = {};
      for (int o = 0; o < O; ++o)
#pragma unroll
        for (int p = 0; p < PATTERNS; ++p) sum[p] = fmaf(memory[WEIGHTS + KERNEL + i * O + o], d[o][p], sum[p]);
#pragma unroll
      for (int p = 0; p < PATTERNS; ++p) before[i][p] = sum[p] * (NOISE ? in[i][p] : slope_of(in[i][p]));
    }
  }
}

// Of a word of the buffer: bits of the inputs, whether the pattern is present, its label.
INLINE unsigned is_present(unsigned word) { return word >> FEATURES & 1u; }
INLINE unsigned label_of(unsigned word) { return word >> (FEATURES + 1); }

// Derivatives of the loss by the sums of the output layer; 0 for patterns that are not present.
INLINE void output_deltas(const unsigned (&word)[PATTERNS], const Unit* z, Unit* d) {
#pragma unroll
  for (int p = 0; p < PATTERNS; ++p) {
    float present = is_present(word[p]) ? 1.0f : 0.0f;
    int label = (int)label_of(word[p]);
#if SOFTMAX
    float top = z[0][p], total = 0.0f;
#pragma unroll OUTER
    for (int o = 1; o < CLASSES; ++o) top = fmaxf(top, z[o][p]);
#pragma unroll OUTER
    for (int o = 0; o < CLASSES; ++o) total += d[o][p] = exp2_of(LOG2_E * (z[o][p] - top));
    float share = inverse_of(total);
#pragma unroll OUTER
    for (int o = 0; o < CLASSES; ++o) d[o][p] = present * (d[o][p] * share - (o == label ? 1.0f : 0.0f));
#else
    d[0][p] = present * (inverse_of(1.0f + exp2_of(-LOG2_E * z[0][p])) - (float)label);
#endif
  }
}

// The noise of this thread's patterns in a step; `first` is its first pattern's place in the batch.
struct Noise { float deviation; Key key; int first; };

template <int L> INLINE void forward(const float* memory, const Noise& noise, const Unit* in, Unit* a, Unit* slopes, Unit* z) {
  constexpr int O = all_widths[L + 1];
  if constexpr (L == LAST) {
    sums_of<L>(memory, in, z);
  } else {
    constexpr int UNIT = LAYOUT.unit[L];
    Unit* out = a + UNIT;
    sums_of<L>(memory, in, out);
#pragma unroll OUTER
    for (int o = 0; o < O; ++o)
#pragma unroll
      for (int p = 0; p < PATTERNS; ++p) {
        out[o][p] = activation_of(out[o][p]);
#if NOISE
        slopes[UNIT + o][p] = slope_of(out[o][p]);
        out[o][p] = fmaf(noise.deviation, normal_of(noise.key, (noise.first + p) * HIDDEN + UNIT + o), out[o][p]);
#endif
      }
    forward<L + 1>(memory, noise, out, a, slopes, z);
  }
}

template <int L> INLINE void backward(const float* memory, float* columns, const Unit* a, const Unit* d) {
  constexpr int O = all_widths[L + 1], COLUMN = LAYOUT.first_column[LAYOUT.group[L]] + LAYOUT.column[L];
#pragma unroll OUTER
  for (int o = 0; o < O; ++o) store(columns + (COLUMN + o) * STRIDE, d[o]);
  if constexpr (L > 0) {
    constexpr int UNIT = LAYOUT.unit[L - 1];
    Unit before[all_widths[L]];
    deltas_of<L>(memory, a + UNIT, d, before);
    backward<L - 1>(memory, columns, a, before);
  }
}

INLINE void forward_and_backward(float* memory, int thread, int buffer, Noise noise) {
  float* rows = memory + PATTERN_ROWS + thread / LANES * ROWS_OF_A_WARP;
  unsigned word[PATTERNS];
#pragma unroll
  for (int p = 0; p < PATTERNS; ++p) word[p] = ((const unsigned*)memory)[WORDS + buffer * CHUNK + thread * PATTERNS + p];
  Unit x[FEATURES], a[HIDDEN + 1], z[CLASSES], d[CLASSES];
#pragma unroll OUTER
  for (int i = 0; i < FEATURES; ++i)
#pragma unroll
    for (int p = 0; p < PATTERNS; ++p) x[i][p] = word[p] >> i & 1u ? 1.0f : 0.0f;
#pragma unroll
  for (int p = 0; p < PATTERNS; ++p) a[HIDDEN][p] = 1.0f;
#if NOISE
  Unit slopes[HIDDEN + 1];
#else
  Unit* slopes = a;  // told by the activations
#endif
  forward<0>(memory, noise, x, a, slopes, z);
  store_pairs<0>(rows + thread % LANES * PATTERNS * 2, a);
  output_deltas(word, z, d);
  backward<LAST>(memory, rows + COLUMNS + thread % LANES * PATTERNS, slopes, d);
}

// ---- Gradients: a warp's patterns on the matrix units

#ifdef __CUDACC__
typedef float Number;  // one a lane
typedef int Index;
INLINE Index lanes() { return threadIdx.x % LANES; }
INLINE void load4(Number (&to)[4], const float* from, Index at) {
  float4 v = *(const float4*)(from + at);
  to[0] = v.x; to[1] = v.y; to[2] = v.z; to[3] = v.w;
}
INLINE void load_bits(Number (&to)[4], const float* from, Index at, Index bit) {
  uint4 v = *(const uint4*)(from + at);
  unsigned word[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = bits_as_float(word[i] << (30 - bit & 31) & 0x40000000u);
}
INLINE Number low_part(Number x) { return x - bits_as_float(float_as_bits(x) & 0xffffe000u); }
INLINE void multiply(Number (&c)[4], const Number (&a)[4], const Number (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(float_as_bits(a[0])), "r"(float_as_bits(a[1])), "r"(float_as_bits(a[2])), "r"(float_as_bits(a[3])),
        "r"(float_as_bits(b[0])), "r"(float_as_bits(b[1])));
}
INLINE Number zero() { return 0.0f; }
INLINE void store2(float* to, Index at, Number x, Number y) { *(float2*)(to + at) = float2{x, y}; }
INLINE void load2(const float* from, Index at, Number& x, Number& y) {
  float2 v = *(const float2*)(from + at);
  x = v.x; y = v.y;
}
#else
#define EACH_LANE for (int lane = 0; lane < LANES; ++lane)
template <class T> struct Lanes { T of[LANES]; };
typedef Lanes<float> Number;
typedef Lanes<int> Index;
template <class T> Lanes<T> operator+(Lanes<T> x, const Lanes<T>& y) { EACH_LANE x.of[lane] += y.of[lane]; return x; }
template <class T> Lanes<T> operator+(Lanes<T> x, T y) { EACH_LANE x.of[lane] += y; return x; }
template <class T> Lanes<T> operator*(Lanes<T> x, T y) { EACH_LANE x.of[lane] *= y; return x; }
inline Index operator/(Index x, int y) { EACH_LANE x.of[lane] /= y; return x; }
inline Index operator%(Index x, int y) { EACH_LANE x.of[lane] %= y; return x; }
inline Index lanes() { Index x; EACH_LANE x.of[lane] = lane; return x; }
inline void load4(Number (&to)[4], const float* from, const Index& at) {
  for (int i = 0; i < 4; ++i) EACH_LANE to[i].of[lane] = from[at.of[lane] + i];
}
inline void load_bits(Number (&to)[4], const float* from, const Index& at, const Index& bit) {
  for (int i = 0; i < 4; ++i) EACH_LANE {
    unsigned word = float_as_bits(from[at.of[lane] + i]);
    to[i].of[lane] = bits_as_float(word << ((30 - bit.of[lane]) & 31) & 0x40000000u);
  }
}
inline float cut_to_11_bits(float x) { return bits_as_float(float_as_bits(x) & 0xffffe000u); }
inline Number low_part(Number x) { EACH_LANE x.of[lane] -= cut_to_11_bits(x.of[lane]); return x; }
// What the matrix units do with operands as lanes hold them (PTX ISA, mma.m16n8k8): they cut these to 11 bits, and
// their sums, taken here to be exact within a call, to a float32.
inline void multiply(Number (&c)[4], const Number (&a)[4], const Number (&b)[2]) {
  float A[16][8], B[8][8];
  EACH_LANE {
    int group = lane / 4, member = lane % 4;
    for (int i = 0; i < 4; ++i) A[group + i % 2 * 8][member + i / 2 * 4] = cut_to_11_bits(a[i].of[lane]);
    for (int i = 0; i < 2; ++i) B[member + i * 4][group] = cut_to_11_bits(b[i].of[lane]);
  }
  EACH_LANE for (int i = 0; i < 4; ++i) {
    int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    double sum = c[i].of[lane];
    for (int k = 0; k < 8; ++k) sum += (double)A[row][k] * B[k][column];
    float rounded = (float)sum;
    if (std::fabs((double)rounded) > std::fabs(sum)) rounded = std::nextafterf(rounded, 0.0f);
    c[i].of[lane] = rounded;
  }
}
inline Number zero() { return Number{}; }
inline void store2(float* to, const Index& at, const Number& x, const Number& y) {
  EACH_LANE { to[at.of[lane]] = x.of[lane]; to[at.of[lane] + 1] = y.of[lane]; }
}
inline void load2(const float* from, const Index& at, Number& x, Number& y) {
  EACH_LANE { x.of[lane] = from[at.of[lane]]; y.of[lane] = from[at.of[lane] + 1]; }
}
#endif

struct Tile { Number high[4], low[4]; };  // products of the high parts, and the others

// Operands of two operations, of 16 patterns: four a lane, patterns 4m ... 4m + 3 of member m of a group of four lanes,
// of which the first operation takes two and the second two. The units cut them, which leaves the high parts.
struct Rows { Number whole[2][4], low[2][4]; };     // 16 rows
struct Columns { Number whole[2][2], low[2][2]; };  // 8 columns

template <int G> INLINE void load_rows(Rows& r, const float* pairs, const float* words, int tile, int from) {
  if constexpr (G == 0) {  // twice the inputs: they are exact
    Number upper[4], lower[4];
    load_bits(upper, words, lanes() % 4 * 4 + from, lanes() / 4 + tile * TILE_ROWS);
    load_bits(lower, words, lanes() % 4 * 4 + from, lanes() / 4 + (tile * TILE_ROWS + 8));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      r.whole[i / 2][i % 2 * 2] = upper[i];
      r.whole[i / 2][i % 2 * 2 + 1] = lower[i];
    }
  } else {
    constexpr int FIRST = LAYOUT.first_pair[G];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      int at = (FIRST + tile * (TILE_ROWS / 2)) * PAIR_STRIDE + 2 * from + 4 * half;
      load4(r.whole[half], pairs, lanes() / 4 * PAIR_STRIDE + lanes() % 4 * 8 + at);
#pragma unroll
      for (int i = 0; i < 4; ++i) r.low[half][i] = low_part(r.whole[half][i]);
    }
  }
}

template <int G> INLINE void load_columns(Columns& c, const float* columns, int tile, int from) {
  constexpr int FIRST = LAYOUT.first_column[G];
  Number v[4];
  load4(v, columns, lanes() / 4 * STRIDE + lanes() % 4 * 4 + ((FIRST + tile * TILE_COLUMNS) * STRIDE + from));
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    c.whole[i / 2][i % 2] = v[i];
    c.low[i / 2][i % 2] = low_part(v[i]);
  }
}

template <int G> INLINE void add_products(Tile& t, const Rows& r, const Columns& c) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    multiply(t.high, r.whole[half], c.whole[half]);
    multiply(t.low, r.whole[half], c.low[half]);
    if constexpr (G > 0) multiply(t.low, r.low[half], c.whole[half]);
  }
}

template <int G> INLINE void store_tile(float* part, int tile, const Tile& t, bool add) {
  constexpr int FIRST = LAYOUT.first_tile[G];
  Index at = lanes() * 2 + (FIRST + tile) * TILE;  // four lanes a row of eight
  Number sum[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sum[i] = t.high[i] + t.low[i];
    if constexpr (G == 0) sum[i] = sum[i] * 0.5f;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (add) {
      Number x, y;
      load2(part, at + i * TILE / 2, x, y);
      sum[2 * i] = x + sum[2 * i];
      sum[2 * i + 1] = y + sum[2 * i + 1];
    }
    store2(part, at + i * TILE / 2, sum[2 * i], sum[2 * i + 1]);
  }
}

// All tiles at once, 16 patterns at a time: enough independent work to hide the time an operation takes.
template <int G> INLINE void add_group(Tile* tiles, const float* rows, const float* words, int from) {
  if constexpr (G < LAYOUT.groups) {
    constexpr int RT = LAYOUT.row_tiles[G], CT = LAYOUT.column_tiles[G], FIRST = LAYOUT.first_tile[G];
    Columns columns[CT];
#pragma unroll
    for (int c = 0; c < CT; ++c) load_columns<G>(columns[c], rows + COLUMNS, c, from);
#pragma unroll
    for (int r = 0; r < RT; ++r) {
      Rows loaded;
      load_rows<G>(loaded, rows, words, r, from);
#pragma unroll
      for (int c = 0; c < CT; ++c) add_products<G>(tiles[FIRST + r * CT + c], loaded, columns[c]);
    }
    add_group<G + 1>(tiles, rows, words, from);
  }
}
template <int G> INLINE void store_group(float* part, const Tile* tiles, bool add) {
  if constexpr (G < LAYOUT.groups) {
    constexpr int COUNT = LAYOUT.row_tiles[G] * LAYOUT.column_tiles[G], FIRST = LAYOUT.first_tile[G];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) store_tile<G>(part, i, tiles[FIRST + i], add);
    store_group<G + 1>(part, tiles, add);
  }
}
// Tile by tile, for networks with many.
template <int G> INLINE void each_tile(float* part, const float* rows, const float* words, int warp, bool add) {
  if constexpr (G < LAYOUT.groups) {
    constexpr int CT = LAYOUT.column_tiles[G], COUNT = LAYOUT.row_tiles[G] * CT;
#pragma unroll 1
    for (int i = warp; i < COUNT; i += WARPS) {
      Tile tile;
#pragma unroll
      for (int j = 0; j < 4; ++j) tile.high[j] = tile.low[j] = zero();
#pragma unroll 1
      for (int other = 0; other < WARPS; ++other)
#pragma unroll
        for (int from = 0; from < LANES * PATTERNS; from += 16) {
          Rows loaded;
          Columns columns;
          load_rows<G>(loaded, rows + other * ROWS_OF_A_WARP, words + other * (LANES * PATTERNS), i / CT, from);
          load_columns<G>(columns, rows + other * ROWS_OF_A_WARP + COLUMNS, i % CT, from);
          add_products<G>(tile, loaded, columns);
        }
      store_tile<G>(part, i, tile, add);
    }
    each_tile<G + 1>(part, rows, words, warp, add);
  }
}

// `add`: to the sums of the batch's chunks before.
INLINE void gradients_by_a_warp(float* memory, int warp, int buffer, bool add) {
  const float* rows = memory + PATTERN_ROWS;
  const float* words = memory + WORDS + buffer * CHUNK;
  float* parts = memory + PARTS;
  if constexpr (SMALL) {
    Tile tiles[TILES];
#pragma unroll
    for (int i = 0; i < TILES; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) tiles[i].high[j] = tiles[i].low[j] = zero();
    rows += warp * ROWS_OF_A_WARP;
    words += warp * (LANES * PATTERNS);
#pragma unroll
    for (int from = 0; from < LANES * PATTERNS; from += 16) add_group<0>(tiles, rows, words, from);
    store_group<0>(parts + warp * PART, tiles, add);
  } else {
    each_tile<0>(parts, rows, words, warp, add);
  }
}

// ---- The producers: words of the next patterns, and the update

// What a launch does, the same for every network.
struct Control { int epochs, learn, shuffle, batch; };

// Where a network stands in its epochs: a chunk of a batch of an epoch.
struct Position {
  int epoch, step, chunk;
  INLINE bool ends_step(int n, int batch) const {
    int first = step * batch, size = n - first < batch ? n - first : batch;
    return (chunk + 1) * CHUNK >= size;
  }
  INLINE int size(int n, int batch) const { return n - step * batch < batch ? n - step * batch : batch; }
  INLINE Position next(int n, int batch) const {
    if (!ends_step(n, batch)) return {epoch, step, chunk + 1};
    return (step + 1) * batch < n ? Position{epoch, step + 1, 0} : Position{epoch + 1, 0, 0};
  }
};

// Where the shuffle of an epoch takes positions: `ibjax.training.shuffle.swap_or_not`.
INLINE void shuffle(unsigned (&x)[PATTERNS], unsigned n, const uint4* keys) {
#pragma unroll
  for (int round = 0; round < ROUNDS; ++round) {
    uint4 key = keys[round];
#pragma unroll
    for (int p = 0; p < PATTERNS; ++p) {
      unsigned reflected = key.x - x[p];  // where it is negative, a large number, and n makes it the smaller one
      reflected = reflected < reflected + n ? reflected : reflected + n;
      unsigned larger = x[p] > reflected ? x[p] : reflected;
      x[p] = (int)(larger * key.y + key.z) < 0 ? reflected : x[p];
    }
  }
}

INLINE void produce(float* memory, int thread, int buffer, Position at, int n, Control c, const uint4* keys,
                    const unsigned* packed) {
  bool present[PATTERNS];
  unsigned x[PATTERNS];
#pragma unroll
  for (int p = 0; p < PATTERNS; ++p) {
    int in_batch = at.chunk * CHUNK + p * THREADS + thread, place = at.step * c.batch + in_batch;
    present[p] = in_batch < c.batch && place < n;
    x[p] = present[p] ? place : 0;
  }
  if (c.shuffle) shuffle(x, n, keys + at.epoch * ROUNDS);
#pragma unroll
  for (int p = 0; p < PATTERNS; ++p) {
    unsigned word = packed[x[p]], inputs = word & ((1u << FEATURES) - 1u);
    word = inputs | 1u << FEATURES | (word >> FEATURES) << (FEATURES + 1);
    ((unsigned*)memory)[WORDS + buffer * CHUNK + p * THREADS + thread] = present[p] ? word : 0u;
  }
}

// A producer's parameters, every THREADS-th, with the state of the optimizer (Adam's moments, or first the trace of the
// momentum) and the moments of the gradients.
struct Own { float parameter[OWNED], first[OWNED], second[OWNED], mean[OWNED], deviations[OWNED]; int place[OWNED]; };
// Of one network; the powers are those of Adam's decays after the steps so far.
struct Rates { float learning_rate, decay, momentum; double first_power, second_power; };

constexpr float FIRST_DECAY = 0.9f, SECOND_DECAY = 0.999f;  // optax's defaults, as is the summand below

INLINE double power(double base, unsigned exponent) {
  double result = 1.0;
  for (; exponent; exponent >>= 1, base *= base)
    if (exponent & 1) result *= base;
  return result;
}

INLINE void update(float* memory, int thread, Own& own, Rates& rates, int size, int step, Control c) {
  float inverse = inverse_of((float)size), share = inverse_of((float)(step + 1));
#if ADAM
  constexpr float FIRST_SHARE = 0.1f, SECOND_SHARE = 0.001f;  // 1.0f - SECOND_DECAY is another number: 1e-5 off
  rates.first_power *= (double)FIRST_DECAY;
  rates.second_power *= (double)SECOND_DECAY;
  float first_bias = 1.0f - (float)rates.first_power, second_bias = 1.0f - (float)rates.second_power;
#endif
#pragma unroll (OWNED <= 8 ? OWNED : 1)
  for (int i = 0; i < OWNED; ++i) {
    int parameter = thread + i * THREADS;
    if (parameter < PARAMETERS) {
      const float* part = memory + PARTS + own.place[i];
      float g = SMALL ? (part[0] + part[PART]) + (part[2 * PART] + part[3 * PART]) : part[0];
      g *= inverse;
      if (step == 0) own.mean[i] = own.deviations[i] = 0.0f;
      float difference = g - own.mean[i];
      own.mean[i] = fmaf(difference, share, own.mean[i]);
      own.deviations[i] = fmaf(difference, g - own.mean[i], own.deviations[i]);
      if (c.learn) {
        float value = own.parameter[i], direction;
#if ADAM
        own.first[i] = fmaf(FIRST_DECAY, own.first[i], FIRST_SHARE * g);
        own.second[i] = fmaf(SECOND_DECAY, own.second[i], SECOND_SHARE * (g * g));
        direction = own.first[i] / first_bias / (sqrtf(own.second[i] / second_bias) + 1e-8f);
        direction = fmaf(rates.decay, value, direction);
#else
        direction = fmaf(rates.momentum, own.first[i], fmaf(rates.decay, value, g));
        own.first[i] = direction;
#endif
        own.parameter[i] = fmaf(-rates.learning_rate, direction, value);
        memory[WEIGHTS + parameter] = own.parameter[i];
      }
    }
  }
}

// What a launch reads and writes, of S networks with P parameters; n is the largest number of training patterns.
struct Arrays {
  const int* control;       // epochs, learn, shuffle, batch, n, E: the epochs that keys has
  const unsigned* packed;   // (S, n): bits of the inputs, the label above them
  const uint4* keys;        // (S, E, ROUNDS); the fourth numbers of the first two rounds are the key of the noise
  const int* counts;        // (S, 2): training patterns, steps before this launch
  const float* rates;       // (S, 4): learning rate, weight decay, standard deviation of the noise, momentum
  const float* parameters;  // (S, P)
  const float* state;       // (S, 2, P): Adam's moments, or the trace of the momentum and nothing
  float* new_parameters;    // (S, P)
  float* new_state;         // (S, 2, P)
  float* moments;           // (S, 2, P): mean, and sum of squared deviations, of the gradients of the last epoch
};

INLINE Control control_of(const Arrays& a) {
  return {a.control[0], a.control[1], a.control[2], a.control[3]};
}

// The noise of a thread's patterns; `keys` are the network's.
INLINE Noise noise_of(const Arrays& a, int seed, int thread, Position at, const uint4* keys) {
  Noise noise = {};
#if NOISE
  keys += at.epoch * ROUNDS;
  Key step = threefry({keys[0].w, keys[1].w}, {0u, (unsigned)at.step});  // jax.random.fold_in
  noise = {a.rates[4 * seed + 2], step, at.chunk * CHUNK + thread * PATTERNS};
#endif
  return noise;
}

INLINE void begin(const Arrays& a, float* memory, int seed, int thread, Own& own, Rates& rates) {
  unsigned steps = (unsigned)a.counts[2 * seed + 1];
  rates = {a.rates[4 * seed], a.rates[4 * seed + 1], a.rates[4 * seed + 3], power((double)FIRST_DECAY, steps),
           power((double)SECOND_DECAY, steps)};
#pragma unroll (OWNED <= 8 ? OWNED : 1)
  for (int i = 0; i < OWNED; ++i) {
    int parameter = thread + i * THREADS;
    bool mine = parameter < PARAMETERS;
    int p = mine ? parameter : 0;
    own.place[i] = place_of(p);
    own.parameter[i] = a.parameters[(long long)seed * PARAMETERS + p];
    own.first[i] = a.state[2LL * seed * PARAMETERS + p];
    own.second[i] = a.state[(2LL * seed + 1) * PARAMETERS + p];
    own.mean[i] = own.deviations[i] = 0.0f;
    if (mine) memory[WEIGHTS + p] = own.parameter[i];
  }
}

INLINE void finish(const Arrays& a, int seed, int thread, const Own& own) {
#pragma unroll (OWNED <= 8 ? OWNED : 1)
  for (int i = 0; i < OWNED; ++i) {
    int p = thread + i * THREADS;
    if (p < PARAMETERS) {
      long long one = 2LL * seed * PARAMETERS + p, other = one + PARAMETERS;
      a.new_parameters[(long long)seed * PARAMETERS + p] = own.parameter[i];
      a.new_state[one] = own.first[i]; a.new_state[other] = own.second[i];
      a.moments[one] = own.mean[i]; a.moments[other] = own.deviations[i];
    }
  }
}

#ifdef __CUDACC__
extern "C" __device__ const int memory_bytes = 4 * MEMORY;  // of a block: read from the text of the compiled kernel

extern "C" __global__ void __launch_bounds__(2 * THREADS, 1)
train(const int* control, const unsigned* packed, const uint4* keys, const int* counts, const float* rates,
      const float* parameters, const float* state, float* new_parameters, float* new_state, float* moments) {
  extern __shared__ float4 block_memory[];
  float* memory = (float*)block_memory;
  Arrays a = {control, packed, keys, counts, rates, parameters, state, new_parameters, new_state, moments};
  Control c = control_of(a);
  int seed = blockIdx.x, n = counts[2 * seed], buffer = 0;
  Position at = {0, 0, 0};
  packed += (long long)seed * control[4];
  keys += (long long)seed * control[5] * ROUNDS;
  if (threadIdx.x < THREADS) {
    __syncthreads();
#pragma unroll 1
    while (at.epoch < c.epochs) {
      forward_and_backward(memory, threadIdx.x, buffer, noise_of(a, seed, threadIdx.x, at, keys));
      if (SMALL) __syncwarp();
      else asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory");  // of the warps that compute
      gradients_by_a_warp(memory, threadIdx.x / LANES, buffer, at.chunk > 0);
      __syncthreads();
      bool updated = at.ends_step(n, c.batch);
      at = at.next(n, c.batch);
      buffer ^= 1;
      if (updated) __syncthreads();
    }
  } else {
    int thread = threadIdx.x - THREADS;
    Own own;
    Rates r;
    begin(a, memory, seed, thread, own, r);
    produce(memory, thread, 0, at, n, c, keys, packed);
    __syncthreads();
#pragma unroll 1
    while (at.epoch < c.epochs) {
      Position next = at.next(n, c.batch);
      buffer ^= 1;
      if (next.epoch < c.epochs) produce(memory, thread, buffer, next, n, c, keys, packed);
      __syncthreads();
      if (at.ends_step(n, c.batch)) {
        update(memory, thread, own, r, at.size(n, c.batch), at.step, c);
        __syncthreads();
      }
      at = next;
    }
    finish(a, seed, thread, own);
  }
}
#endif
