// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// The kernels of attention on tensor cores against those in f32, then the speed of both. Stands alone: nvcc with the kernels'
// files and attention_plan.c. Prints "ok" last and returns 0 where all is right.
//     try_attention [check] [time] [variants] [TOKENS]
// variants: other tiles of heads of 128, part by part.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cuda_runtime.h>

#include <cwp/backend.h>

#include "plugins/backends/cuda/attention_backward.cu"
#include "plugins/backends/cuda/attention_forward.cu"
#include "plugins/backends/cuda/launch.h"

static int failures;
static int longest_first; // blocks of all sequences, not of each

#define MUST(call) must((call), #call, __LINE__)

static void must(cudaError_t e, const char *what, int line)
{
	if (e != cudaSuccess) {
		printf("line %d: %s: %s\n", line, what, cudaGetErrorString(e));
		exit(1);
	}
}

// Numbers near a normal distribution, from their place.
__global__ static void fill(float *p, uint64_t n, uint32_t seed)
{
	for (uint64_t i = blockIdx.x * static_cast<uint64_t>(blockDim.x) + threadIdx.x; i < n; i += static_cast<uint64_t>(gridDim.x) * blockDim.x) {
		float sum = 0.0F;
		uint32_t x = static_cast<uint32_t>(i) * 2654435761U + seed;
		for (int k = 0; k < 4; k++) {
			x = (x ^ (x >> 16)) * 0x7feb352dU;
			x = (x ^ (x >> 15)) * 0x846ca68bU;
			x ^= x >> 16;
			sum += static_cast<float>(x >> 8) / 16777216.0F - 0.5F;
		}
		p[i] = sum * 1.7F;
	}
}

struct shape {
	const char *name;
	uint32_t heads, kv_heads, head_dim, window;
	float softcap;
};

struct arrays {
	size_t q, k, rows; // numbers
	float *in[4];      // q, k, v, dout
	float *out[2], *lse[2], *dq[2], *dk[2], *dv[2]; // f32, bf16
	char *scratch;
	size_t scratch_bytes;
	struct attention_block *blocks;
};

template <typename T> static T *room(size_t n)
{
	void *p = nullptr;
	MUST(cudaMalloc(&p, (n ? n : 1) * sizeof(T)));
	MUST(cudaMemset(p, 0xff, n * sizeof(T)));
	return static_cast<T *>(p);
}

static arrays make(const shape &s, uint64_t tokens)
{
	arrays x = {};
	x.q = tokens * s.heads * s.head_dim;
	x.k = tokens * s.kv_heads * s.head_dim;
	x.rows = tokens * s.heads;
	for (int i = 0; i < 4; i++) {
		size_t n = i == 0 || i == 3 ? x.q : x.k;
		x.in[i] = room<float>(n);
		fill<<<1024, 256>>>(x.in[i], n, 77U + i);
	}
	for (int i = 0; i < 2; i++) {
		x.out[i] = room<float>(x.q);
		x.lse[i] = room<float>(x.rows);
		x.dq[i] = room<float>(x.q);
		x.dk[i] = room<float>(x.k);
		x.dv[i] = room<float>(x.k);
	}
	x.scratch_bytes = (x.q + x.k) * 2 * 3 + x.rows * 4 + 8192;
	x.scratch = room<char>(x.scratch_bytes);
	x.blocks = room<attention_block>(tokens + 1);
	return x;
}

static void drop(arrays &x)
{
	for (int i = 0; i < 4; i++) {
		MUST(cudaFree(x.in[i]));
	}
	for (int i = 0; i < 2; i++) {
		for (float *p : {x.out[i], x.lse[i], x.dq[i], x.dk[i], x.dv[i]}) {
			MUST(cudaFree(p));
		}
	}
	MUST(cudaFree(x.scratch));
	MUST(cudaFree(x.blocks));
}

// One call as the backend makes it, all heads and sequences as one piece. which: 0 f32, 1 bf16.
// only: instead of all of it.
typedef cudaError_t (*part_fn)(const attention_args &a, cudaStream_t stream);

static void run(const shape &s, const std::vector<uint64_t> &start, arrays &x, int which, int backward, int upload, part_fn only = nullptr,
	uint32_t only_rows = 0)
{
	cwp_attention a = {};
	a.size = sizeof(a);
	a.heads = s.heads;
	a.kv_heads = s.kv_heads;
	a.head_dim = s.head_dim;
	a.sequences.count = start.size() - 1;
	a.sequences.start = start.data();
	const uint64_t tokens = start.back();
	static size_t n_blocks;
	if (upload) {
		attention_plan plan;
		uint32_t rows = !which ? attention_f32_rows(s.head_dim)
			: backward ? attention_bf16_backward_rows(s.head_dim) : attention_bf16_forward_rows(s.head_dim);
		rows = only_rows ? only_rows : rows;
		if (attention_plan_init(&plan, &a, rows) != 0) {
			exit(1);
		}
		n_blocks = plan.n_blocks;
		if (longest_first) {
			std::stable_sort(plan.blocks, plan.blocks + n_blocks, [](const attention_block &a, const attention_block &b) {
				return a.before + a.first > b.before + b.first;
			});
		}
		MUST(cudaMemcpy(x.blocks, plan.blocks, n_blocks * sizeof(*plan.blocks), cudaMemcpyHostToDevice));
		attention_plan_done(&plan);
	}
	attention_args k = {};
	k.d_blocks = x.blocks;
	k.blocks = static_cast<uint32_t>(n_blocks);
	k.heads = s.heads;
	k.kv_heads = k.kv_count = s.kv_heads;
	k.group = s.heads / s.kv_heads;
	k.head_dim = s.head_dim;
	k.window = s.window;
	k.vector = s.head_dim % 4 == 0;
	k.scale = 1.0F / sqrtf(static_cast<float>(s.head_dim));
	k.softcap = s.softcap;
	k.tokens = tokens;
	k.d_q = x.in[0];
	k.d_k = x.in[1];
	k.d_v = x.in[2];
	k.d_dout = x.in[3];
	k.d_out = x.out[which];
	k.d_lse = x.lse[which];
	k.d_read_out = x.out[0];
	k.d_read_lse = x.lse[0];
	k.d_dq = x.dq[which];
	k.d_dk = x.dk[which];
	k.d_dv = x.dv[which];
	k.rows = static_cast<uint32_t>(tokens);
	k.packed_dim = (s.head_dim + 7) / 8 * 8;
	char *p = x.scratch;
	auto take = [&](size_t bytes) {
		char *r = p;
		p += (bytes + 255) / 256 * 256;
		return r;
	};
	const size_t pad = tokens * k.packed_dim * 2;
	k.d_delta = reinterpret_cast<float *>(take(x.rows * 4));
	k.d_packed_k = take(pad * s.kv_heads);
	k.d_packed_v = take(pad * s.kv_heads);
	if (which && backward) {
		k.d_packed_q = take(pad * s.heads);
		k.d_packed_dout = take(pad * s.heads);
	}
	if (static_cast<size_t>(p - x.scratch) > x.scratch_bytes) {
		printf("scratch\n");
		exit(1);
	}
	if (only != nullptr) {
		MUST(only(k, nullptr));
	} else if (!backward) {
		MUST(which ? attention_pack_forward(&k, nullptr) : cudaSuccess);
		MUST(which ? attention_bf16_forward(&k, nullptr) : attention_f32_forward(&k, nullptr));
	} else {
		MUST(which ? attention_pack_backward(&k, nullptr) : attention_delta(&k, nullptr));
		MUST(which ? attention_bf16_backward(&k, nullptr) : attention_f32_backward(&k, nullptr));
	}
}

static void compare(const char *name, const char *what, const float *d_a, const float *d_b, size_t n)
{
	std::vector<float> a(n), b(n);
	MUST(cudaMemcpy(a.data(), d_a, n * 4, cudaMemcpyDeviceToHost));
	MUST(cudaMemcpy(b.data(), d_b, n * 4, cudaMemcpyDeviceToHost));
	double diff = 0, size = 0;
	for (size_t i = 0; i < n; i++) {
		diff += pow(static_cast<double>(a[i]) - b[i], 2);
		size += pow(a[i], 2);
	}
	double e = sqrt(diff / size);
	int bad = !(e < 2e-2);
	failures += bad;
	printf("%-28s %-4s %.2e%s\n", name, what, e, bad ? "  WRONG" : "");
}

static void check(const shape &s, const std::vector<uint64_t> &start)
{
	arrays x = make(s, start.back());
	for (int which = 0; which < 2; which++) {
		run(s, start, x, which, 0, 1);
		run(s, start, x, which, 1, 1);
	}
	MUST(cudaDeviceSynchronize());
	compare(s.name, "out", x.out[0], x.out[1], x.q);
	compare(s.name, "lse", x.lse[0], x.lse[1], x.rows);
	compare(s.name, "dq", x.dq[0], x.dq[1], x.q);
	compare(s.name, "dk", x.dk[0], x.dk[1], x.k);
	compare(s.name, "dv", x.dv[0], x.dv[1], x.k);
	drop(x);
}

static double time_of(const shape &s, const std::vector<uint64_t> &start, arrays &x, int which, int backward, int repeats, part_fn only = nullptr,
	uint32_t only_rows = 0)
{
	cudaEvent_t from, to;
	std::vector<float> ms;
	MUST(cudaEventCreate(&from));
	MUST(cudaEventCreate(&to));
	run(s, start, x, which, backward, 1, only, only_rows);
	for (int i = 0; i < repeats; i++) {
		float t = 0;
		MUST(cudaEventRecord(from));
		run(s, start, x, which, backward, 0, only, only_rows);
		MUST(cudaEventRecord(to));
		MUST(cudaEventSynchronize(to));
		MUST(cudaEventElapsedTime(&t, from, to));
		ms.push_back(t);
	}
	std::sort(ms.begin(), ms.end());
	MUST(cudaEventDestroy(from));
	MUST(cudaEventDestroy(to));
	return ms[ms.size() / 2];
}

// Useful work: two products forward, five backward, of the keys that are seen.
static void time_all(const shape &s, uint64_t tokens, uint64_t length)
{
	std::vector<uint64_t> start;
	for (uint64_t i = 0; i <= tokens; i += length) {
		start.push_back(i);
	}
	arrays x = make(s, start.back());
	double pairs = static_cast<double>(start.size() - 1) * length * (length + 1) / 2 * s.heads;
	for (int which = 0; which < 2; which++) {
		double f = time_of(s, start, x, which, 0, which ? 20 : 3), b = time_of(s, start, x, which, 1, which ? 20 : 3);
		printf("%-28s %6llu tokens of %4llu, %s: forward %8.3f ms %6.1f TFLOP/s, backward %8.3f ms %6.1f TFLOP/s\n", s.name,
			static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(length), which ? "bf16" : "f32 ", f,
			pairs * 4 * s.head_dim / f / 1e9, b, pairs * 10 * s.head_dim / b / 1e9);
	}
	drop(x);
}

// Parts of attention for heads of 128, with what the backend has chosen first.
struct part_variant {
	const char *name;
	int backward;
	part_fn f;
	uint32_t rows; // of a block
};

static cudaError_t pack_forward(const attention_args &a, cudaStream_t stream)
{
	return attention_pack_forward(&a, stream);
}

static cudaError_t pack_backward(const attention_args &a, cudaStream_t stream)
{
	return attention_pack_backward(&a, stream);
}

static const part_variant part_variants[] = {
	{"packing", 0, pack_forward, 0},
	{"forward 2 x 32, 2", 0, forward<128, 2, 32, 2>, 128},
	{"forward 2 x 32, 1", 0, forward<128, 2, 32, 1>, 128},
	{"forward 2 x 64, 1", 0, forward<128, 2, 64, 1>, 128},
	{"forward 2 x 64, 2", 0, forward<128, 2, 64, 2>, 128},
	{"forward 1 x 32, 2", 0, forward<128, 1, 32, 2>, 64},
	{"forward 1 x 32, 2, 3 blocks", 0, forward<128, 1, 32, 2, 3>, 64},
	{"forward 1 x 32, 2, 4 blocks", 0, forward<128, 1, 32, 2, 4>, 64},
	{"forward 1 x 64, 1, 3 blocks", 0, forward<128, 1, 64, 1, 3>, 64},
	{"forward 1 x 64, 1, 4 blocks", 0, forward<128, 1, 64, 1, 4>, 64},
	{"forward 1 x 64, 2", 0, forward<128, 1, 64, 2>, 64},
	{"packing, backward", 1, pack_backward, 0},
	{"keys 64, 32, 2", 1, backward_keys<128, 128, 64, 32, 2>, 64},
	{"keys 64, 32, 1", 1, backward_keys<128, 128, 64, 32, 1>, 64},
	{"keys 32, 32, 2", 1, backward_keys<128, 128, 32, 32, 2>, 64},
	{"keys 32, 32, 1", 1, backward_keys<128, 128, 32, 32, 1>, 64},
	{"keys 64, 16, 2", 1, backward_keys<128, 128, 64, 16, 2>, 64},
	{"keys 32, 16, 2", 1, backward_keys<128, 128, 32, 16, 2>, 64},
	{"keys halves 64, 32, 2", 1, backward_keys<128, 64, 64, 32, 2>, 64},
	{"keys halves 32, 32, 2, 3 blocks", 1, backward_keys<128, 64, 32, 32, 2, 3>, 64},
	{"queries 64, 2", 1, backward_queries<128, 64, 2>, 64},
	{"queries 64, 1", 1, backward_queries<128, 64, 1>, 64},
	{"queries 32, 2", 1, backward_queries<128, 32, 2>, 64},
	{"queries 32, 2, 3 blocks", 1, backward_queries<128, 32, 2, 3>, 64},
	{"queries 32, 1, 4 blocks", 1, backward_queries<128, 32, 1, 4>, 64},
};

static void time_variants(const shape &s, uint64_t tokens, uint64_t length)
{
	std::vector<uint64_t> start;
	for (uint64_t i = 0; i <= tokens; i += length) {
		start.push_back(i);
	}
	arrays x = make(s, start.back());
	printf("%s, %llu tokens of %llu, microseconds\n", s.name, static_cast<unsigned long long>(tokens), static_cast<unsigned long long>(length));
	run(s, start, x, 0, 0, 1); // what backward reads of forward
	for (const part_variant &v : part_variants) {
		run(s, start, x, 1, v.backward, 1); // packed rows
		printf("    %-34s %8.1f", v.name, 1e3 * time_of(s, start, x, 1, v.backward, 15, v.f, v.rows));
		longest_first = 1;
		printf(" %8.1f longest first\n", 1e3 * time_of(s, start, x, 1, v.backward, 15, v.f, v.rows));
		longest_first = 0;
	}
	drop(x);
}

int main(int argc, char **argv)
{
	static const shape shapes[] = {{"28 over 4 of 128", 28, 4, 128, 0, 0}, {"9 over 3 of 64", 9, 3, 64, 0, 0},
		{"4 over 2 of 32, window 50", 4, 2, 32, 50, 0}, {"4 of 80, cap 2", 4, 4, 80, 0, 2}, {"4 of 96", 4, 4, 96, 0, 0},
		{"4 over 2 of 256, window 99", 4, 2, 256, 99, 5}, {"3 of 13", 3, 3, 13, 0, 0}};
	const std::vector<uint64_t> mixed = {0, 0, 1, 2, 66, 195, 707, 1000, 1000, 3100};
	int all = argc < 2, checks = all, times = all, variants = 0;
	uint64_t tokens = 65536;
	for (int i = 1; i < argc; i++) {
		checks |= !strcmp(argv[i], "check");
		times |= !strcmp(argv[i], "time");
		variants |= !strcmp(argv[i], "variants");
		tokens = atoll(argv[i]) > 0 ? strtoull(argv[i], nullptr, 10) : tokens;
	}
	for (size_t i = 0; checks && i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		check(shapes[i], mixed);
	}
	if (times) {
		time_all(shapes[0], 8192, 512);
		time_all(shapes[0], tokens, 512);
		time_all(shapes[0], tokens / 4, 4096);
		time_all(shapes[1], tokens, 512);
		time_all(shapes[1], tokens / 4, 64);
		time_all(shapes[5], 8192, 512);
	}
	if (variants) {
		time_variants(shapes[0], 8192, 512);
		time_variants(shapes[0], tokens, 512);
	}
	printf(failures ? "%d wrong\n" : "ok\n", failures);
	return failures != 0;
}
