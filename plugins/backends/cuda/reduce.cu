// SPDX-FileCopyrightText: cwpd developers
// SPDX-License-Identifier: Apache-2.0
// Numbers of another device, which lie here now, into ours.
#include <cwp/backend.h>

#include "plugins/backends/cuda/launch.h"
#include "plugins/backends/cuda/rows.cuh"

namespace {

// With x[0] ours and x[1] theirs.
template <typename T, typename F> struct into {
	__device__ void operator()(const T (&x)[2], T (&y)[1]) const
	{
		y[0] = F()(x[1], x[0]);
	}
};

template <typename F, typename T> cudaError_t combine(cudaStream_t stream, T *d_y, const T *d_x, uint64_t n)
{
	return map<2, 1>(stream, arrays<const T, 2>{{d_y, d_x}}, arrays<T, 1>{{d_y}}, into<T, F>(), n);
}

} // namespace

cudaError_t launch_reduce(cudaStream_t stream, uint32_t kind, void *d_y, const void *d_x, uint64_t n)
{
	switch (kind) {
	case CWP_REDUCE_SUM_F32:
		return combine<add>(stream, static_cast<float *>(d_y), static_cast<const float *>(d_x), n);
	case CWP_REDUCE_SUM_F64:
		return combine<add>(stream, static_cast<double *>(d_y), static_cast<const double *>(d_x), n);
	case CWP_REDUCE_SUM_U64:
		return combine<add>(stream, static_cast<uint64_t *>(d_y), static_cast<const uint64_t *>(d_x), n);
	case CWP_REDUCE_MAX_F32:
		return combine<larger>(stream, static_cast<float *>(d_y), static_cast<const float *>(d_x), n);
	default:
		return cudaErrorInvalidValue;
	}
}
