// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// What cuBLASLt offers for the products of a layer, and how fast each of it is: the first results of its heuristic for every
// shape and transposition, with two sizes of the workspace. Stands alone: nvcc with -lcublasLt. By hand, on a GPU.
//     try_products [all] [TOKENS]
// One line a product: the rate of each result, in TFLOP/s, the fastest marked; `all` adds what each result is. Last: what
// taking always the n-th result would give. Random operands, as zeros draw less power and are faster.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define MUST(call) must((call) == 0, #call, __LINE__)

static void must(bool ok, const char *what, int line)
{
	if (!ok) {
		printf("line %d: %s failed: %s\n", line, what, cudaGetErrorString(cudaGetLastError()));
		exit(1);
	}
}

__global__ static void fill(__nv_bfloat16 *p, uint64_t n, uint32_t seed)
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
		p[i] = __float2bfloat16(sum * 1.7F);
	}
}

enum { RESULTS = 8, WORKSPACES = 2, FORMS = 5, REPEATS = 7 };

static const size_t workspace_bytes[WORKSPACES] = {32U << 20, 256U << 20};

struct form {
	const char *name;
	int trans_a, trans_b, add;
};

// C [m, n] = op(A) op(B), row-major, as the backend asks for it.
static const form forms[FORMS] = {
	{"X W^T", 0, 1, 0},        // m tokens, n rows, k columns of W
	{"dY W", 0, 0, 0},         // m tokens, n columns, k rows
	{"dY W +", 0, 0, 1},       // the same, added to what there is
	{"dY (W^T)^T", 0, 1, 0},   // the same with W transposed once
	{"dY^T X +", 1, 0, 1},     // m rows, n columns, k tokens
};

struct shape {
	const char *name;
	int64_t rows, cols;
};

static const shape shapes[] = {{"7B q, o", 3584, 3584}, {"7B k, v", 512, 3584}, {"7B gate, up", 18944, 3584}, {"7B down", 3584, 18944},
	{"135M q, o", 576, 576}, {"135M k, v", 192, 576}, {"135M gate, up", 1536, 576}, {"135M down", 576, 1536}};

static cublasLtHandle_t lt;
static void *a, *b, *workspace;
static float *c;
static int explain;
// Logarithms of rate / rate of the first result with the first workspace.
static double gain[FORMS][WORKSPACES][RESULTS];
static int counted[FORMS];

static float time_of(cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t la, cublasLtMatrixLayout_t lb, cublasLtMatrixLayout_t lc,
	const cublasLtMatmulHeuristicResult_t &r, float beta)
{
	const float one = 1.0F;
	cudaEvent_t from, to;
	std::vector<float> times;
	MUST(cudaEventCreate(&from));
	MUST(cudaEventCreate(&to));
	for (int i = 0; i < REPEATS; i++) {
		float ms = 0;
		MUST(cudaEventRecord(from));
		cublasStatus_t s = cublasLtMatmul(lt, desc, &one, a, la, b, lb, &beta, c, lc, c, lc, &r.algo, workspace, r.workspaceSize, nullptr);
		MUST(cudaEventRecord(to));
		MUST(cudaEventSynchronize(to));
		MUST(cudaEventElapsedTime(&ms, from, to));
		if (s != CUBLAS_STATUS_SUCCESS) {
			times.assign(1, INFINITY);
			break;
		}
		if (i > 1) {
			times.push_back(ms);
		}
	}
	MUST(cudaEventDestroy(from));
	MUST(cudaEventDestroy(to));
	std::sort(times.begin(), times.end());
	return times[times.size() / 2];
}

template <typename T> static long config(const cublasLtMatmulAlgo_t &algo, cublasLtMatmulAlgoConfigAttributes_t what)
{
	T v = 0;
	size_t n = 0;
	return cublasLtMatmulAlgoConfigGetAttribute(&algo, what, &v, sizeof(v), &n) == CUBLAS_STATUS_SUCCESS ? static_cast<long>(v) : -1;
}

static void describe(int i, const cublasLtMatmulHeuristicResult_t &r, double rate)
{
	printf("      %d: %6.1f  algo %ld tile %ld stages %ld cluster %ld inner %ld split %ld reduction %ld swizzle %ld custom %ld "
	       "waves %.2f workspace %zu\n",
		i, rate, config<int32_t>(r.algo, CUBLASLT_ALGO_CONFIG_ID), config<uint32_t>(r.algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
		config<uint32_t>(r.algo, CUBLASLT_ALGO_CONFIG_STAGES_ID), config<uint16_t>(r.algo, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
		config<uint16_t>(r.algo, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID), config<int32_t>(r.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
		config<uint32_t>(r.algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME), config<uint32_t>(r.algo, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING),
		config<uint32_t>(r.algo, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION), r.wavesCount, r.workspaceSize);
}

static void try_form(const shape &s, int which, int64_t tokens)
{
	const form &f = forms[which];
	int64_t m = f.trans_a ? s.rows : tokens, n = which == 0 ? s.rows : s.cols, k = f.trans_a ? tokens : which == 0 ? s.cols : s.rows;
	cublasOperation_t first = f.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = f.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
	cublasLtMatmulDesc_t desc;
	cublasLtMatrixLayout_t la, lb, lc;
	MUST(cublasLtMatmulDescCreate(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
	MUST(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof(first)));
	MUST(cublasLtMatmulDescSetAttribute(desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof(second)));
	MUST(cublasLtMatrixLayoutCreate(&la, CUDA_R_16BF, f.trans_b ? k : n, f.trans_b ? n : k, f.trans_b ? k : n));
	MUST(cublasLtMatrixLayoutCreate(&lb, CUDA_R_16BF, f.trans_a ? m : k, f.trans_a ? k : m, f.trans_a ? m : k));
	MUST(cublasLtMatrixLayoutCreate(&lc, CUDA_R_32F, n, m, n));
	double base = 0;
	for (int w = 0; w < WORKSPACES; w++) {
		cublasLtMatmulPreference_t preference;
		cublasLtMatmulHeuristicResult_t found[RESULTS];
		double rate[RESULTS] = {}, best = 0;
		int count = 0;
		MUST(cublasLtMatmulPreferenceCreate(&preference));
		MUST(cublasLtMatmulPreferenceSetAttribute(
			preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes[w], sizeof(size_t)));
		MUST(cublasLtMatmulAlgoGetHeuristic(lt, desc, la, lb, lc, lc, preference, RESULTS, found, &count));
		for (int i = 0; i < count; i++) {
			rate[i] = 2e-9 * m * n * k / time_of(desc, la, lb, lc, found[i], f.add ? 1.0F : 0.0F);
			best = rate[i] > best ? rate[i] : best;
		}
		base = w == 0 ? rate[0] : base;
		printf("%-14s %-11s %3zu MiB:", s.name, f.name, workspace_bytes[w] >> 20);
		for (int i = 0; i < count; i++) {
			printf(" %6.1f%c", rate[i], rate[i] == best ? '*' : ' ');
		}
		printf("\n");
		for (int i = 0; explain && i < count; i++) {
			describe(i, found[i], rate[i]);
		}
		for (int i = 0; i < RESULTS; i++) {
			gain[which][w][i] += i < count && rate[i] > 0 ? log(rate[i] / base) : 0;
		}
		MUST(cublasLtMatmulPreferenceDestroy(preference));
	}
	counted[which]++;
	MUST(cublasLtMatrixLayoutDestroy(la));
	MUST(cublasLtMatrixLayoutDestroy(lb));
	MUST(cublasLtMatrixLayoutDestroy(lc));
	MUST(cublasLtMatmulDescDestroy(desc));
}

int main(int argc, char **argv)
{
	int64_t tokens = 8192;
	for (int i = 1; i < argc; i++) {
		explain |= !strcmp(argv[i], "all");
		tokens = atoll(argv[i]) > 0 ? atoll(argv[i]) : tokens;
	}
	const size_t most = static_cast<size_t>(18944) * (tokens > 3584 ? tokens : 3584);
	MUST(cudaMalloc(&a, most * 2));
	MUST(cudaMalloc(&b, most * 2));
	MUST(cudaMalloc(&c, most * 4));
	MUST(cudaMalloc(&workspace, workspace_bytes[WORKSPACES - 1]));
	fill<<<1024, 256>>>(static_cast<__nv_bfloat16 *>(a), most, 7);
	fill<<<1024, 256>>>(static_cast<__nv_bfloat16 *>(b), most, 8);
	MUST(cudaMemset(c, 0, most * 4));
	MUST(cublasLtCreate(&lt));
	printf("cuBLASLt %zu, %lld tokens\n", cublasLtGetVersion(), static_cast<long long>(tokens));
	for (const shape &s : shapes) {
		for (int f = 0; f < FORMS; f++) {
			try_form(s, f, tokens);
		}
	}
	printf("always the n-th result, times the first with %zu MiB (where there are fewer, the first):\n", workspace_bytes[0] >> 20);
	for (int f = 0; f < FORMS; f++) {
		for (int w = 0; w < WORKSPACES; w++) {
			printf("%-11s %3zu MiB:", forms[f].name, workspace_bytes[w] >> 20);
			for (int i = 0; i < RESULTS; i++) {
				printf(" %5.3f", exp(gain[f][w][i] / counted[f]));
			}
			printf("\n");
		}
	}
	printf("ok\n");
	return 0;
}
