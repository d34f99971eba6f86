/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The backend "cuda": its table, and its life from the choice of a device to the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugins/backends/cuda/cuda.h"
#include "plugins/backends/cuda/devices.h"
#include "plugins/backends/cuda/ops_attention.h"
#include "plugins/backends/cuda/ops_base.h"
#include "plugins/backends/cuda/ops_gptq.h"
#include "plugins/backends/cuda/ops_grad.h"
#include "plugins/backends/cuda/ops_reduce.h"
#include "plugins/backends/cuda/ops_rows.h"

enum { MOST_DEVICES = 64 };

/* The driver comes with the system, the runtime with this plugin. */
static int check_driver(struct cuda *b)
{
	int driver = 0, runtime = 0;
	if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
		return cuda_refuse(b, CWP_EMISSING,
			"no NVIDIA driver is loaded here (libcuda.so.1 and the kernel module nvidia): install it, or choose the backend "
			"cpu");
	}
	if (cudaRuntimeGetVersion(&runtime) == cudaSuccess && driver / 1000 < runtime / 1000) {
		return cuda_refuse(b, CWP_EMISSING,
			"the NVIDIA driver is made for CUDA %d.%d, this plugin for %d.%d: install a driver for CUDA %d.0 or newer, or "
			"choose the backend cpu", driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10, runtime / 1000);
	}
	return 0;
}

static int describe_entry(struct cuda *b, int i, struct cuda_device_entry *ret)
{
	struct cudaDeviceProp p;
	int mode = cudaComputeModeDefault;
	cudaError_t e = cudaGetDeviceProperties(&p, i);
	if (e == cudaSuccess) {
		e = cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, i);
	}
	if (e != cudaSuccess) {
		return cuda_check(b, "open", e);
	}
	cuda_uuid_text((const unsigned char *)p.uuid.bytes, ret->uuid);
	snprintf(ret->name, sizeof(ret->name), "%.63s", p.name);
	ret->capability = p.major * 10 + p.minor;
	ret->total = p.totalGlobalMem;
	ret->mode = mode == cudaComputeModeProhibited ? CUDA_PROHIBITED
		: mode == cudaComputeModeDefault ? CUDA_SHARED : CUDA_EXCLUSIVE;
	return 0;
}

static int list_devices(struct cuda *b, struct cuda_device_entry *list, size_t *ret_n)
{
	int n = 0;
	cudaError_t e = cudaGetDeviceCount(&n);
	if (e == cudaErrorNoDevice) {
		(void)cudaGetLastError();
		n = 0;
	} else if (e != cudaSuccess) {
		return cuda_check(b, "open", e);
	}
	n = n > MOST_DEVICES ? MOST_DEVICES : n;
	for (int i = 0; i < n; i++) {
		int rc = describe_entry(b, i, &list[i]);
		if (rc) {
			return rc;
		}
	}
	*ret_n = (size_t)n;
	return 0;
}

/* Makes the process's context there. */
static int use_device(struct cuda *b, const struct cuda_device_entry *d, size_t i)
{
	int shared = 0, processors = 0;
	snprintf(b->name, sizeof(b->name), "cuda %s sm_%d %s", d->name, d->capability, b->precision == CUDA_BF16 ? "bf16" : "f32");
	cudaError_t e = cudaSetDevice((int)i);
	e = e != cudaSuccess ? e : cudaFree(NULL);
	e = e != cudaSuccess ? e : cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, (int)i);
	e = e != cudaSuccess ? e : cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, (int)i);
	if (e != cudaSuccess) {
		return cuda_check(b, "open", e);
	}
	b->device = (int)i;
	b->processors = processors;
	b->capability = d->capability;
	b->shared_memory = (size_t)shared;
	return 0;
}

/* Without a name, the first usable device that also lets us in. */
static int choose_device(struct cuda *b, const char *device)
{
	struct cuda_device_entry list[MOST_DEVICES];
	size_t n = 0, i = 0;
	char text[1536] = "";
	int rc = list_devices(b, list, &n);
	if (rc) {
		return rc;
	}
	rc = cuda_device_choose(list, n, device, &i, text, sizeof(text));
	if (rc) {
		return cuda_refuse(b, rc, "%s", text);
	}
	rc = use_device(b, &list[i], i);
	for (size_t next = i + 1; rc == -EBUSY && !device && next < n; next++) {
		if (cuda_device_usable(&list[next], next, text, sizeof(text)) == 0) {
			rc = use_device(b, &list[next], next);
		}
	}
	return rc;
}

static int set_up(struct cuda *b)
{
	int rc = cuda_check(b, "open", cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
	rc = rc ? rc : cuda_memory_open(b);
	rc = rc ? rc : cuda_pinned_open(b);
	rc = rc ? rc : cuda_transfer_open(b);
	rc = rc ? rc : cuda_beside_open(b);
	rc = rc ? rc : cuda_cache_open(b);
	rc = rc ? rc : cuda_reduce_open(b);
	return rc ? rc : cuda_plans_open(b);
}

/* After an error that stays, the runtime refuses each of these at once; what the process holds on the device goes with it. */
static void cuda_close(void *vb)
{
	struct cuda *b = vb;
	if (!b) {
		return;
	}
	if (b->stream) {
		(void)cudaSetDevice(b->device);
		(void)cudaStreamSynchronize(b->stream);
		cuda_reduce_close(b);
		cuda_pinned_close(b);
		cuda_beside_close(b);
		cuda_transfer_close(b);
		cuda_plans_close(b);
		cuda_cache_close(b);
		cuda_memory_close(b);
		(void)cudaStreamDestroy(b->stream);
		(void)cudaGetLastError();
	}
	free(b);
}

static int cuda_open(const struct cwp_host *host, const struct cwp_setting *settings, const char *device, void **ret_b)
{
	struct cuda *b = calloc(1, sizeof(*b));
	if (!b) {
		return -ENOMEM;
	}
	b->host = host;
	b->precision = settings && settings[0].string && strcmp(settings[0].string, "f32") == 0 ? CUDA_F32 : CUDA_BF16;
	snprintf(b->name, sizeof(b->name), "cuda");
	int rc = check_driver(b);
	rc = rc ? rc : choose_device(b, device);
	rc = rc ? rc : set_up(b);
	if (rc) {
		cuda_close(b);
		return rc;
	}
	*ret_b = b;
	return 0;
}

static const char *cuda_describe(void *vb)
{
	return ((struct cuda *)vb)->name;
}

/* Asks for properties alone: no context is made. */
static int cuda_devices(const struct cwp_host *host, uint32_t index, struct cwp_backend_device *ret)
{
	struct cuda b = {.host = host, .name = "cuda"};
	struct cuda_device_entry list[MOST_DEVICES];
	size_t n = 0;
	int rc = check_driver(&b);
	rc = rc ? rc : list_devices(&b, list, &n);
	if (rc) {
		return rc == CWP_EMISSING ? CWP_ESTATE : rc; /* explained, and not the end of the list */
	}
	if (index >= n) {
		return CWP_EMISSING;
	}
	*ret = (struct cwp_backend_device){.size = sizeof(*ret), .total = list[index].total};
	snprintf(ret->uuid, sizeof(ret->uuid), "%s", list[index].uuid);
	snprintf(ret->name, sizeof(ret->name), "%s", list[index].name);
	return 0;
}

const struct cwp_backend cuda_backend = {
	.size = sizeof(struct cwp_backend),
	.open = cuda_open,
	.close = cuda_close,
	.describe = cuda_describe,
	.alloc = cuda_alloc,
	.free = cuda_free,
	.upload = cuda_upload,
	.download = cuda_download,
	.zero = cuda_zero,
	.sync = cuda_sync,
	.convert = cuda_convert,
	.matmul = cuda_matmul,
	.add = cuda_add,
	.add_bias = cuda_add_bias,
	.rmsnorm = cuda_rmsnorm,
	.rmsnorm_backward = cuda_rmsnorm_backward,
	.rope = cuda_rope,
	.attention = cuda_attention,
	.attention_backward = cuda_attention_backward,
	.attention_decode = cuda_attention_decode,
	.glu = cuda_glu,
	.glu_backward = cuda_glu_backward,
	.xent_begin = cuda_xent_begin,
	.xent_slice = cuda_xent_slice,
	.xent_backward = cuda_xent_backward,
	.grad_stats = cuda_grad_stats,
	.act_stats = cuda_act_stats,
	.act_histogram = cuda_act_histogram,
	.act_abs = cuda_act_abs,
	.fake_quant = cuda_fake_quant,
	.gather_rows = cuda_gather_rows,
	.scatter_rows = cuda_scatter_rows,
	.dot_rows = cuda_dot_rows,
	.softcap = cuda_softcap,
	.softcap_backward = cuda_softcap_backward,
	.copy = cuda_copy,
	.narrow = cuda_narrow,
	.host_alloc = cuda_host_alloc,
	.host_free = cuda_host_free,
	.load_begin = cuda_load_begin,
	.load = cuda_load,
	.load_wait = cuda_load_wait,
	.fetch = cuda_fetch,
	.fetch_wait = cuda_fetch_wait,
	.send = cuda_send,
	.send_wait = cuda_send_wait,
	.memory = cuda_memory,
	.overhead = cuda_overhead,
	.reserve = cuda_reserve,
	.rows_alone = cuda_rows_alone,
	.devices = cuda_devices,
	.enter = cuda_enter,
	.reduce = cuda_reduce,
	.gptq_factor = cuda_gptq_factor,
	.gptq_round = cuda_gptq_round,
	.gptq_work = cuda_gptq_work,
};
