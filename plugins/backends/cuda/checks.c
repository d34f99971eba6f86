/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Checks that all operations share, and what the runtime's errors mean for a job. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "plugins/backends/cuda/cuda.h"

int cuda_refuse(struct cuda *b, int code, const char *format, ...)
{
	char text[768];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	b->host->fail(b->host->ctx, text);
	b->refused = code;
	return code;
}

int cuda_code(cudaError_t e)
{
	switch (e) {
	case cudaSuccess:
		return 0;
	case cudaErrorMemoryAllocation:
		return -ENOMEM;
	case cudaErrorDevicesUnavailable:
	case cudaErrorDeviceAlreadyInUse:
	case cudaErrorMpsMaxClientsReached:
	case cudaErrorMpsMaxConnectionsReached:
	case cudaErrorMpsServerNotReady:
		return -EBUSY;
	case cudaErrorECCUncorrectable:
	case cudaErrorNvlinkUncorrectable:
	case cudaErrorContained:
	case cudaErrorHardwareStackError:
	case cudaErrorExternalDevice:
	case cudaErrorSystemNotReady:
	case cudaErrorLaunchTimeout:
	case cudaErrorMpsClientTerminated:
	case cudaErrorMpsConnectionFailed:
	case cudaErrorMpsRpcFailure:
	case cudaErrorNoDevice:
	case cudaErrorInvalidDevice:
	case cudaErrorOperatingSystem:
	case cudaErrorUnknown:
		return CWP_ESTATE;
	case cudaErrorInsufficientDriver:
	case cudaErrorSystemDriverMismatch:
	case cudaErrorCompatNotSupportedOnDevice:
	case cudaErrorStubLibrary:
	case cudaErrorInitializationError:
		return CWP_EMISSING;
	default:
		return CWP_EPLUGIN;
	}
}

static int out_of_memory(struct cuda *b, const char *op)
{
	size_t free = 0, total = 0;
	if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
		free = total = 0;
	}
	return cuda_refuse(b, -ENOMEM,
		"%s: %s is out of memory (%zu of its %zu bytes are free): wait for what else runs there, or give the job less "
		"gpu_memory", op, b->name, free, total);
}

int cuda_check(struct cuda *b, const char *op, cudaError_t e)
{
	int code = cuda_code(e);
	if (code == 0) {
		return 0;
	}
	/* Errors that do not stay are forgotten, so that the next operation is not blamed for them. */
	(void)cudaGetLastError();
	switch (code) {
	case -ENOMEM:
		return out_of_memory(b, op);
	case -EBUSY:
		return cuda_refuse(b, code, "%s: %s is busy or reserved for another process (%s): try again later or choose another "
			"device", op, b->name, cudaGetErrorString(e));
	case CWP_ESTATE:
		return cuda_refuse(b, code, "%s: %s is lost (%s, %s): look for Xid in the kernel's log; the attempt can be made again "
			"there after a reset, or on another device", op, b->name, cudaGetErrorName(e), cudaGetErrorString(e));
	case CWP_EMISSING:
		return cuda_refuse(b, code, "%s: the driver of %s does not suit this CUDA runtime (%s): install a newer driver",
			op, b->name, cudaGetErrorString(e));
	default:
		return cuda_refuse(b, code, "%s: %s said %s (%s) of this operation or of one before it: report this as a fault of the "
			"backend; the backend cpu can do the job", op, b->name, cudaGetErrorName(e), cudaGetErrorString(e));
	}
}

int cuda_check_matrix(struct cuda *b, const char *op, const char *name, const void *p, uint64_t rows, uint64_t cols, uint64_t ld)
{
	uint64_t n = 0;
	if (rows == 0 || cols == 0) {
		return 0;
	}
	if (!p) {
		return cuda_refuse(b, CWP_EVALUE, "%s: %s is NULL", op, name);
	}
	if (ld < cols) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: rows of %s are %llu elements apart but %llu long", op, name,
			(unsigned long long)ld, (unsigned long long)cols);
	}
	if (__builtin_mul_overflow(rows, ld, &n) || n > PTRDIFF_MAX / sizeof(float)) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: %s [%llu, %llu] is larger than memory can be", op, name,
			(unsigned long long)rows, (unsigned long long)ld);
	}
	return 0;
}

int cuda_check_sequences(struct cuda *b, const char *op, const struct cwp_sequences *s)
{
	if (s->count == 0) {
		return 0;
	}
	if (!s->start || s->start[0] != 0) {
		return cuda_refuse(b, CWP_ESHAPE, "%s: the first sequence does not start at token 0", op);
	}
	for (uint64_t i = 0; i < s->count; i++) {
		if (s->start[i + 1] < s->start[i]) {
			return cuda_refuse(b, CWP_ESHAPE, "%s: sequence %llu ends at %llu, before its start %llu", op,
				(unsigned long long)i, (unsigned long long)s->start[i + 1], (unsigned long long)s->start[i]);
		}
	}
	return 0;
}
