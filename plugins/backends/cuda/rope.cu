// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Rotary embedding, in place.
#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"

namespace {

enum { ITEMS = 1024 }; // packs of pairs of one block, about

// A block has rows_each rows; `across` is the number of packs of pairs in a head, `each` that in a row. rows_each * each is below
// 2^31.
template <int W>
__global__ void __launch_bounds__(THREADS) turn(struct launch_rope r, uint32_t rows_each, uint32_t across, uint32_t each)
{
	uint64_t top = (uint64_t)blockIdx.x * rows_each;
	uint32_t rows = r.rows - top < rows_each ? (uint32_t)(r.rows - top) : rows_each;
	for (uint32_t i = threadIdx.x; i < rows * each; i += THREADS) {
		uint64_t t = top + i / each;
		uint32_t in_row = i % each, head = in_row / across, p = in_row % across;
		float *x = r.d_x + t * r.ld + (uint64_t)head * r.head_dim;
		uint64_t angle = (uint64_t)r.d_position[t] * r.half + (uint64_t)p * W;
		pack<float, W> a = load<W>(x, p), b = load<W>(x + r.half, p);
		pack<float, W> c = load<W>(r.d_cos + angle, 0), s = load<W>(r.d_sin + angle, 0), y, z;
#pragma unroll
		for (int w = 0; w < W; w++) {
			float sine = r.sign * s.v[w];
			y.v[w] = a.v[w] * c.v[w] - b.v[w] * sine;
			z.v[w] = b.v[w] * c.v[w] + a.v[w] * sine;
		}
		store<W>(x, p, y);
		store<W>(x + r.half, p, z);
		if (r.d_copy != nullptr) {
			uint16_t *copy = r.d_copy + (x - r.d_x);
			store_rounded<W>(copy, p, y);
			store_rounded<W>(copy + r.half, p, z);
		}
	}
}

} // namespace

cudaError_t launch_rope(cudaStream_t stream, const struct launch_rope *r)
{
	bool wide = aligned(r->d_x) && aligned(r->d_cos) && aligned(r->d_sin) && r->half % 4 == 0 && r->head_dim % 4 == 0 &&
		r->ld % 4 == 0;
	if (r->rows == 0 || r->heads == 0 || r->half == 0) {
		return cudaSuccess;
	}
	uint64_t across = r->half / (wide ? 4 : 1), each = across * r->heads;
	uint64_t rows_each = each < ITEMS ? ITEMS / each : 1, blocks = ceil_div(r->rows, rows_each);
	if (too_many(blocks) || too_many(each)) {
		return cudaErrorInvalidConfiguration;
	}
	if (wide) {
		turn<4><<<(unsigned)blocks, THREADS, 0, stream>>>(*r, (uint32_t)rows_each, (uint32_t)across, (uint32_t)each);
	} else {
		turn<1><<<(unsigned)blocks, THREADS, 0, stream>>>(*r, (uint32_t)rows_each, (uint32_t)across, (uint32_t)each);
	}
	return cudaGetLastError();
}
