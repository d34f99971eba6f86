// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// The kernels of statistics of gradients against plain sums in double precision, then their speed beside cuBLASLt's product of
// the same size. Stands alone: nvcc with the kernels' files. Prints "ok" last and returns 0 where all is right.
//     nvcc -std=c++17 -O3 -I. -Iinclude -gencode=arch=compute_90a,code=sm_90a -o try_grad tests/cuda/try_grad.cu
//         plugins/backends/cuda/grad_*.cu plugins/backends/cuda/tensor_map.c -lcublasLt
//     try_grad [check] [time] [TOKENS]
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include <algorithm>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include "plugins/backends/cuda/launch.h"

static int failures;

#define MUST(call) must((call), #call, __LINE__)

static void must(cudaError_t e, const char *what, int line)
{
	if (e != cudaSuccess) {
		printf("line %d: %s: %s\n", line, what, cudaGetErrorString(e));
		exit(1);
	}
}

static void must(cublasStatus_t e, const char *what, int line)
{
	if (e != CUBLAS_STATUS_SUCCESS) {
		printf("line %d: %s: status %d\n", line, what, (int)e);
		exit(1);
	}
}

__host__ __device__ static inline uint32_t mix(uint32_t x)
{
	x ^= x >> 16;
	x *= 0x7feb352du;
	x ^= x >> 15;
	x *= 0x846ca68bu;
	return x ^ x >> 16;
}

// In (-1, 1).
__host__ __device__ static inline float noise(uint64_t i, uint32_t seed)
{
	return ((float)(mix((uint32_t)i + mix(seed + (uint32_t)(i >> 32))) >> 8) - 8388607.5f) / 8388608.0f;
}

// The first `rows` rows of `cols` are noise, the rest is NaN: what nothing may read or what may not matter.
__global__ static void fill_bf16(__nv_bfloat16 *p, uint64_t rows, uint64_t cols, uint64_t ld, uint64_t n, uint32_t seed)
{
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
		p[i] = __float2bfloat16(i / ld < rows && i % ld < cols ? noise(i, seed) : NAN);
	}
}

__global__ static void widen(float *to, const __nv_bfloat16 *from, uint64_t n)
{
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
		to[i] = __bfloat162float(from[i]);
	}
}

__global__ static void fill(float *p, uint64_t n, uint32_t seed)
{
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
		p[i] = noise(i, seed);
	}
}

// ref[i] of element i * step: sum, |g|, g^2 over samples.
__global__ static void plain(const __nv_bfloat16 *x, uint64_t ldx, const __nv_bfloat16 *dy, uint64_t lddy, uint64_t cols,
	const uint64_t *start, uint32_t samples, uint64_t n, uint64_t step, double *ref)
{
	uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x;
	if (i >= n) {
		return;
	}
	uint64_t r = i * step / cols, c = i * step % cols;
	double sum = 0, magnitude = 0, square = 0;
	for (uint32_t s = 0; s < samples; s++) {
		double g = 0;
		for (uint64_t t = start[s]; t < start[s + 1]; t++) {
			g += (double)__bfloat162float(dy[t * lddy + r]) * (double)__bfloat162float(x[t * ldx + c]);
		}
		sum += g;
		magnitude += fabs(g);
		square += g * g;
	}
	ref[3 * i] = sum;
	ref[3 * i + 1] = magnitude;
	ref[3 * i + 2] = square;
}

template <class T> static T *device(size_t n)
{
	void *p = NULL;
	MUST(cudaMalloc(&p, n * sizeof(T) + 256));
	return (T *)p;
}

struct problem {
	uint64_t rows, cols, ldx, lddy, tokens;
	std::vector<uint64_t> start;
	__nv_bfloat16 *x, *dy;
	float *x32, *dy32, *out;
	uint64_t *d_start;
};

enum { SPARE = 70, GUARD = 4096, PARTS = 16 << 20 };

static uint64_t ld(uint64_t n)
{
	return (n + 7) / 8 * 8;
}

static problem make(uint64_t rows, uint64_t cols, const std::vector<uint64_t> &lengths, bool wide)
{
	problem p = {rows, cols, ld(cols), ld(rows), 0, {0}};
	for (uint64_t n : lengths) {
		p.start.push_back(p.start.back() + n);
	}
	p.tokens = p.start.back();
	size_t nx = (p.tokens + SPARE) * p.ldx, ny = (p.tokens + SPARE) * p.lddy;
	p.x = device<__nv_bfloat16>(nx);
	p.dy = device<__nv_bfloat16>(ny);
	fill_bf16<<<1024, 256>>>(p.x, p.tokens, cols, p.ldx, nx, 1 + (uint32_t)rows);
	fill_bf16<<<1024, 256>>>(p.dy, p.tokens, rows, p.lddy, ny, 77 + (uint32_t)cols);
	if (wide) {
		p.x32 = device<float>(nx);
		p.dy32 = device<float>(ny);
		widen<<<1024, 256>>>(p.x32, p.x, nx);
		widen<<<1024, 256>>>(p.dy32, p.dy, ny);
	}
	p.out = device<float>(rows * cols + GUARD);
	p.d_start = device<uint64_t>(p.start.size());
	MUST(cudaMemcpy(p.d_start, p.start.data(), p.start.size() * 8, cudaMemcpyHostToDevice));
	MUST(cudaDeviceSynchronize());
	return p;
}

static void done(problem &p)
{
	void *all[] = {p.x, p.dy, p.x32, p.dy32, p.out, p.d_start};
	for (void *q : all) {
		MUST(cudaFree(q));
	}
}

enum kernel { F32, MMA, SM90 };

struct variant {
	const char *name;
	enum kernel kernel;
	uint32_t width, cluster, splits; // of SM90; 0: as chosen
};

static const variant variants[] = {{"f32", F32, 0, 0, 0}, {"f32/1", F32, 0, 0, 1}, {"mma", MMA, 0, 0, 0}, {"mma/1", MMA, 0, 0, 1},
	{"sm90", SM90, 0, 0, 0}, {"sm90 192x1", SM90, 192, 1, 1}, {"sm90 192x2", SM90, 192, 2, 1}, {"sm90 128x1", SM90, 128, 1, 1},
	{"sm90 128x2", SM90, 128, 2, 1}, {"sm90 192x4", SM90, 192, 4, 1}, {"sm90 128x4", SM90, 128, 4, 1}, {"sm90 192x2/3", SM90, 192, 2, 3}};

// Runs once; parts has PARTS floats.
static void launch(const problem &p, const variant &v, int square, float *parts, struct grad_cut *ret_cut)
{
	struct grad_launch g = {};
	g.d_x = v.kernel == F32 ? (const void *)p.x32 : p.x;
	g.d_dy = v.kernel == F32 ? (const void *)p.dy32 : p.dy;
	g.ldx = p.ldx;
	g.lddy = p.lddy;
	g.rows = p.rows;
	g.cols = p.cols;
	g.tokens = p.tokens;
	g.d_start = p.d_start;
	g.samples = (uint32_t)p.start.size() - 1;
	g.square = square;
	g.d_out = p.out;
	struct grad_cut cut = v.kernel == F32 ? cuda_grad_f32_cut(&g) : v.kernel == MMA ? cuda_grad_mma_cut(&g) : cuda_grad_sm90_cut(&g);
	cut.width = v.width ? v.width : cut.width;
	cut.cluster = v.cluster ? v.cluster : cut.cluster;
	cut.splits = v.splits ? v.splits : cut.splits;
	*ret_cut = cut;
	if (cuda_grad_parts(&g, &cut) > PARTS * sizeof(float)) {
		printf("%s: %zu bytes of parts\n", v.name, cuda_grad_parts(&g, &cut));
		failures++;
		return;
	}
	MUST(v.kernel == F32    ? cuda_grad_f32(&g, &cut, parts, 0)
		: v.kernel == MMA ? cuda_grad_mma(&g, &cut, parts, 0)
				  : cuda_grad_sm90(&g, &cut, parts, 0));
}

// Of all elements against the reference: the largest difference over the reference's root mean square.
static double distance(const std::vector<float> &out, const std::vector<float> &before, const std::vector<double> &ref, int which,
	uint64_t step)
{
	double square = 0, most = 0;
	size_t n = ref.size() / 3;
	for (size_t i = 0; i < n; i++) {
		square += ref[3 * i + which] * ref[3 * i + which];
	}
	double scale = sqrt(square / (double)n);
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)out[i * step] - (double)before[i * step] - ref[3 * i + which]);
		if (!(d <= most)) { // NaN too
			most = d;
		}
		if (std::isnan(d)) {
			return INFINITY;
		}
	}
	return scale > 0 ? most / scale : most;
}

static std::vector<double> reference(const problem &p, uint64_t step)
{
	uint64_t n = (p.rows * p.cols + step - 1) / step;
	double *d = device<double>(3 * n);
	plain<<<(unsigned)((n + 127) / 128), 128>>>(
		p.x, p.ldx, p.dy, p.lddy, p.cols, p.d_start, (uint32_t)p.start.size() - 1, n, step, d);
	MUST(cudaDeviceSynchronize());
	std::vector<double> ref(3 * n);
	MUST(cudaMemcpy(ref.data(), d, ref.size() * sizeof(double), cudaMemcpyDeviceToHost));
	MUST(cudaFree(d));
	return ref;
}

// The reference itself, on the host.
static void check_reference(const problem &p, const std::vector<double> &ref)
{
	std::vector<__nv_bfloat16> x(p.tokens * p.ldx), dy(p.tokens * p.lddy);
	MUST(cudaMemcpy(x.data(), p.x, x.size() * 2, cudaMemcpyDeviceToHost));
	MUST(cudaMemcpy(dy.data(), p.dy, dy.size() * 2, cudaMemcpyDeviceToHost));
	double worst = 0;
	for (uint64_t i = 0; i < p.rows * p.cols; i++) {
		double square = 0;
		for (size_t s = 0; s + 1 < p.start.size(); s++) {
			double g = 0;
			for (uint64_t t = p.start[s]; t < p.start[s + 1]; t++) {
				g += (double)__bfloat162float(dy[t * p.lddy + i / p.cols]) * (double)__bfloat162float(x[t * p.ldx + i % p.cols]);
			}
			square += g * g;
		}
		worst = std::max(worst, fabs(square - ref[3 * i + 2]) / (1 + square));
	}
	printf("reference on host and device: %.1e\n", worst);
	failures += !(worst < 1e-12);
}

static std::vector<float> fetch(const float *d, size_t n)
{
	std::vector<float> v(n);
	MUST(cudaMemcpy(v.data(), d, n * sizeof(float), cudaMemcpyDeviceToHost));
	return v;
}

// Every variant, both statistics, twice: right, the same bytes, nothing beside the matrix written.
static void check(const char *name, uint64_t rows, uint64_t cols, const std::vector<uint64_t> &lengths, int capability, bool host)
{
	problem p = make(rows, cols, lengths, true);
	uint64_t n = rows * cols, step = n > 200000 ? 97 : 1;
	std::vector<double> ref = reference(p, step);
	float *parts = device<float>(PARTS);
	MUST(cudaMemset(parts, 0xff, PARTS * sizeof(float)));
	if (host) {
		check_reference(p, ref);
	}
	fill<<<1024, 256>>>(p.out, n + GUARD, 5);
	std::vector<float> before = fetch(p.out, n + GUARD);
	printf("%-22s %6llu x %-6llu %5llu tokens:", name, (unsigned long long)rows, (unsigned long long)cols,
		(unsigned long long)p.tokens);
	for (const variant &v : variants) {
		if ((v.kernel == SM90 && capability != 90) || (v.splits == 3 && n * 3 > PARTS)) {
			continue;
		}
		double worst[2];
		bool bad = false;
		for (int square = 0; square < 2; square++) {
			std::vector<float> first;
			for (int again = 0; again < 2; again++) {
				struct grad_cut cut;
				MUST(cudaMemcpy(p.out, before.data(), before.size() * 4, cudaMemcpyHostToDevice));
				launch(p, v, square, parts, &cut);
				MUST(cudaDeviceSynchronize());
				std::vector<float> out = fetch(p.out, n + GUARD);
				if (again) {
					bad = bad || memcmp(first.data(), out.data(), out.size() * 4) != 0;
				}
				bad = bad || memcmp(out.data() + n, before.data() + n, GUARD * 4) != 0;
				first = out;
			}
			worst[square] = distance(first, before, ref, 1 + square, step);
			bad = bad || !(worst[square] < 5e-4);
		}
		failures += bad;
		printf(" %s %.0e %.0e%s", v.name, worst[0], worst[1], bad ? " WRONG" : "");
	}
	printf("\n");
	MUST(cudaFree(parts));
	done(p);
}

static void check_bias(uint64_t rows, const std::vector<uint64_t> &lengths)
{
	problem p = make(rows, 1, lengths, true);
	std::vector<double> ref = reference(p, 1);
	float *out = device<float>(3 * rows);
	fill<<<64, 256>>>(out, 3 * rows, 9);
	std::vector<float> before = fetch(out, 3 * rows);
	struct grad_bias g = {p.x32, p.ldx, p.dy32, p.lddy, rows, p.d_start, (uint32_t)p.start.size() - 1, out, out + rows, out + 2 * rows};
	MUST(cuda_grad_bias(&g, 0));
	MUST(cudaDeviceSynchronize());
	std::vector<float> after = fetch(out, 3 * rows);
	double worst = 0;
	for (int k = 0; k < 3; k++) {
		std::vector<float> a(after.begin() + k * rows, after.begin() + (k + 1) * rows),
			b(before.begin() + k * rows, before.begin() + (k + 1) * rows);
		worst = std::max(worst, distance(a, b, ref, k, 1));
	}
	bool bad = !(worst < 1e-4);
	failures += bad;
	printf("bias %llu, %zu samples: %.1e%s\n", (unsigned long long)rows, lengths.size(), worst, bad ? " WRONG" : "");
	MUST(cudaFree(out));
	done(p);
}

template <class F> static double median_ms(F run, int times)
{
	cudaEvent_t a, b;
	MUST(cudaEventCreate(&a));
	MUST(cudaEventCreate(&b));
	std::vector<float> ms;
	for (int i = 0; i < times + 2; i++) {
		float t = 0;
		MUST(cudaEventRecord(a));
		run();
		MUST(cudaEventRecord(b));
		MUST(cudaEventSynchronize(b));
		MUST(cudaEventElapsedTime(&t, a, b));
		if (i >= 2) {
			ms.push_back(t);
		}
	}
	MUST(cudaEventDestroy(a));
	MUST(cudaEventDestroy(b));
	std::sort(ms.begin(), ms.end());
	return ms[ms.size() / 2];
}

// dY^T X over all tokens by cuBLASLt, milliseconds.
static double product_ms(cublasLtHandle_t lt, const problem &p, void *workspace, size_t bytes)
{
	cublasLtMatmulDesc_t op;
	cublasLtMatrixLayout_t a, b, c;
	cublasLtMatmulPreference_t pref;
	cublasOperation_t t = CUBLAS_OP_T;
	MUST(cublasLtMatmulDescCreate(&op, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	MUST(cublasLtMatmulDescSetAttribute(op, CUBLASLT_MATMUL_DESC_TRANSB, &t, sizeof t));
	MUST(cublasLtMatrixLayoutCreate(&a, CUDA_R_16BF, p.cols, p.tokens, (int64_t)p.ldx));
	MUST(cublasLtMatrixLayoutCreate(&b, CUDA_R_16BF, p.rows, p.tokens, (int64_t)p.lddy));
	MUST(cublasLtMatrixLayoutCreate(&c, CUDA_R_32F, p.cols, p.rows, (int64_t)p.cols));
	MUST(cublasLtMatmulPreferenceCreate(&pref));
	MUST(cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes, sizeof bytes));
	cublasLtMatmulHeuristicResult_t found;
	int n = 0;
	MUST(cublasLtMatmulAlgoGetHeuristic(lt, op, a, b, c, c, pref, 1, &found, &n));
	float one = 1, zero = 0;
	double ms = n == 0 ? NAN
			   : median_ms(
				     [&] {
					     MUST(cublasLtMatmul(lt, op, &one, p.x, a, p.dy, b, &zero, p.out, c, p.out, c, &found.algo,
						     workspace, bytes, 0));
				     },
				     7);
	MUST(cublasLtMatmulPreferenceDestroy(pref));
	MUST(cublasLtMatrixLayoutDestroy(a));
	MUST(cublasLtMatrixLayoutDestroy(b));
	MUST(cublasLtMatrixLayoutDestroy(c));
	MUST(cublasLtMatmulDescDestroy(op));
	return ms;
}

static void time_shape(cublasLtHandle_t lt, const char *name, uint64_t rows, uint64_t cols, const std::vector<uint64_t> &lengths,
	int capability)
{
	problem p = make(rows, cols, lengths, false);
	size_t bytes = PARTS * sizeof(float);
	void *workspace = device<char>(bytes);
	double flops = 2.0 * (double)p.tokens * (double)rows * (double)cols;
	double product = product_ms(lt, p, workspace, bytes);
	printf("%s: %llu x %llu, %llu tokens in %zu samples: cuBLASLt %.3f ms, %.0f TFLOP/s\n", name, (unsigned long long)rows,
		(unsigned long long)cols, (unsigned long long)p.tokens, lengths.size(), product, flops / product * 1e-9);
	for (const variant &v : variants) {
		if (v.kernel == F32 || (v.kernel == SM90 && capability != 90) || (v.kernel == MMA && v.splits == 1) || v.splits == 3) {
			continue;
		}
		struct grad_cut cut = {};
		MUST(cudaMemset(p.out, 0, rows * cols * 4));
		double ms = median_ms([&] { launch(p, v, 1, (float *)workspace, &cut); }, v.kernel == MMA ? 3 : 7);
		printf("    %-12s width %u cluster %u splits %-2u %8.3f ms %5.0f TFLOP/s  %.2f of the product\n", v.name, cut.width, cut.cluster,
			cut.splits, ms, flops / ms * 1e-9, product / ms);
	}
	// Under load the clock falls: what is measured later is slower.
	printf("    the product again: %.3f ms\n", product_ms(lt, p, workspace, bytes));
	fflush(stdout);
	MUST(cudaFree(workspace));
	done(p);
}

// Lengths from 1 to most, `tokens` in all.
static std::vector<uint64_t> ragged(uint64_t tokens, uint64_t most, uint32_t seed)
{
	std::vector<uint64_t> v;
	for (uint64_t sum = 0; sum < tokens; sum += v.back()) {
		v.push_back(std::min<uint64_t>(tokens - sum, 1 + mix(seed + (uint32_t)v.size()) % most));
	}
	return v;
}

static std::vector<uint64_t> equal(uint64_t count, uint64_t length)
{
	return std::vector<uint64_t>(count, length);
}

static void check_all(int capability)
{
	check("one tile", 128, 192, equal(1, 64), capability, true);
	check("one step", 64, 64, equal(1, 16), capability, true);
	check("one token", 8, 8, equal(1, 1), capability, true);
	check("a step less one", 130, 200, equal(3, 15), capability, true);
	check("edges of stages", 256, 384, {63, 64, 65, 0, 127, 128, 129, 1, 48, 49, 47, 17, 16, 33, 0}, capability, true);
	check("odd matrix", 301, 257, ragged(700, 200, 3), capability, true);
	check("thin", 1000, 3, ragged(900, 300, 4), capability, true);
	check("flat", 5, 1001, ragged(900, 300, 5), capability, true);
	check("five tokens", 576, 1536, equal(300, 5), capability, false);
	check("ragged", 576, 1536, ragged(4000, 700, 6), capability, false);
	check("whole", 576, 576, equal(8, 512), capability, false);
	check("long", 192, 576, {5000, 3001}, capability, false);
	check("large", 3584, 3584, equal(4, 512), capability, false);
	check("several rounds", 4608, 5120, ragged(1500, 400, 7), capability, false);
	check_bias(1, equal(1, 1));
	check_bias(3584, equal(16, 512));
	check_bias(577, ragged(3000, 90, 8));
	check_bias(33, {0, 31, 0, 32, 33, 1000});
}

static void time_all(uint64_t tokens, int capability)
{
	cublasLtHandle_t lt;
	MUST(cublasLtCreate(&lt));
	std::vector<uint64_t> whole = equal(tokens / 512, 512);
	time_shape(lt, "gate, up", 18944, 3584, whole, capability);
	time_shape(lt, "down", 3584, 18944, whole, capability);
	time_shape(lt, "q, o", 3584, 3584, whole, capability);
	time_shape(lt, "k, v", 512, 3584, whole, capability);
	time_shape(lt, "one long sample", 18944, 3584, equal(1, tokens), capability);
	time_shape(lt, "128 tokens", 18944, 3584, equal(tokens / 128, 128), capability);
	time_shape(lt, "up to 1024 tokens", 18944, 3584, ragged(tokens, 1024, 11), capability);
	time_shape(lt, "up to 40 tokens", 3584, 3584, ragged(tokens, 40, 12), capability);
	time_shape(lt, "small", 576, 576, whole, capability);
	time_shape(lt, "small, broad", 576, 1536, whole, capability);
	MUST(cublasLtDestroy(lt));
}

int main(int argc, char **argv)
{
	bool checks = argc == 1, times = argc == 1;
	uint64_t tokens = 8192;
	for (int i = 1; i < argc; i++) {
		checks = checks || strcmp(argv[i], "check") == 0;
		times = times || strcmp(argv[i], "time") == 0;
		tokens = atoi(argv[i]) > 0 ? (uint64_t)atoi(argv[i]) : tokens;
	}
	cudaDeviceProp prop;
	MUST(cudaGetDeviceProperties(&prop, 0));
	int capability = prop.major * 10 + prop.minor;
	printf("%s, capability %d, %d multiprocessors\n", prop.name, capability, prop.multiProcessorCount);
	if (checks) {
		check_all(capability);
	}
	if (times) {
		time_all(tokens, capability);
	}
	printf(failures ? "%d WRONG\n" : "ok\n", failures);
	return failures != 0;
}
