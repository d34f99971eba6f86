/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The memory of a GPU: planned from shapes, limited, reserved. */
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "engine/calibrate/calibrate.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/quantize_device.h"
#include "engine/pipeline/several.h"

/* What is left to the driver and to others of a device's memory, unless the job says how much it may take. */
#define MARGIN_PART 16u
#define MARGIN_MOST (1ull << 30)
/* What alignment may take of it. */
#define ROUNDING_PART 128u
/* Tokens that go through the layers at once, where the memory is enough: measured (doc/performance.md). */
#define PIECE_MOST 4096u
#define STEP 1 /* seconds between two tries */

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void cwe_need_passes(struct cwe_need *need, const struct cwe_model *model, uint64_t widest)
{
	cwe_workspace_use(model, widest, &need->use);
}

/* Of boundaries, what is not on the GPU: they are there as a whole or not at all, for bounds. */
static uint64_t outside(const struct cwe_run *run, uint64_t boundaries)
{
	return cwe_device_remote(&run->device) && boundaries <= run->device.boundary_room ? 0 : boundaries;
}

uint64_t cwe_need_memory(const struct cwe_run *run, const struct cwe_need *need)
{
	uint64_t device = cwe_device_remote(&run->device) ? 0 : need->device, lanes = need->lanes > 1 ? need->lanes : 1;
	return need->host + device + min_u64(lanes * outside(run, need->boundaries), run->boundary_memory);
}

int cwe_need_spills(const struct cwe_run *run, uint64_t boundaries)
{
	return outside(run, boundaries) > run->boundary_memory;
}

int cwe_need_spills_all(const struct cwe_run *run, const struct cwe_need *need)
{
	return (need->lanes > 1 ? need->lanes : 1) * outside(run, need->boundaries) > run->boundary_memory;
}

/* The most of two uses. */
static void join(struct cwp_backend_use *all, const struct cwp_backend_use *one)
{
	all->size = sizeof *all;
	all->weights = max_u64(all->weights, one->weights);
	all->tokens = max_u64(all->tokens, one->tokens);
	all->width = max_u64(all->width, one->width);
	all->sum = max_u64(all->sum, one->sum);
	all->handles = max_u64(all->handles, one->handles);
}

static uint64_t overhead(const struct cwe_run *run, const struct cwp_backend_use *use)
{
	return run->device.ops->overhead(run->device.b, use);
}

/* Bytes that the job may take of the device, and those that it has. A limit counts for what it is; without one, what others
 * hold now is no reason to refuse a job that starts later. */
static int find_budget(struct cwe_run *run, uint64_t *ret_total, uint64_t *ret_budget, struct cwb_err *err)
{
	const struct cwe_device *d = &run->device;
	uint64_t total = 0, idle = 0, limit = run->job->limits.gpu_memory;
	int r = cwe_device_check(&run->device, "memory", d->ops->memory(d->b, &total, &idle), err);
	uint64_t most = total - min_u64(total / MARGIN_PART, MARGIN_MOST);
	total = min_u64(total, run->several.smallest);
	most = min_u64(most, total - min_u64(total / MARGIN_PART, MARGIN_MOST));
	*ret_total = total;
	*ret_budget = limit > 0 ? min_u64(limit, most) : most;
	return r;
}

static int refuse(const struct cwe_run *run, uint64_t total, uint64_t budget, uint64_t need, struct cwb_err *err)
{
	uint64_t limit = run->job->limits.gpu_memory;
	const char *shorter = run->corpus.longest > CWE_PIECE_TOKENS ? "shorten the longest samples (length of a set), " : "";
	if (limit > 0 && limit <= budget) {
		return cwb_err_set(err, CWP_ELIMIT, "limits.gpu-memory is %" PRIu64 " bytes, but the job may need %" PRIu64
			" on the GPU: raise it, %sor use backend: cpu", limit, need, shorter);
	}
	return cwb_err_set(err, CWP_ELIMIT, "the GPU (%s) has %" PRIu64 " bytes, of which a job may take %" PRIu64 ", but this one may need "
		"%" PRIu64 ": take a larger GPU, %sor use backend: cpu", run->device.ops->describe(run->device.b), total, budget, need, shorter);
}

int cwe_run_gpu_plan(struct cwe_run *run, const struct cwe_need *need, size_t n, uint64_t *ret_bytes, struct cwb_err *err)
{
	struct cwe_run_gpu gpu = {0};
	uint64_t total, budget, boundaries = 0, wanted = 0;
	const struct cwe_need *divided = need;
	*ret_bytes = 0;
	if (!cwe_device_remote(&run->device)) {
		return 0;
	}
	for (size_t i = 0; i < n; i++) {
		gpu.alloc = max_u64(gpu.alloc, need[i].device);
		wanted = max_u64(wanted, need[i].wanted);
		boundaries = max_u64(boundaries, need[i].boundaries);
		join(&gpu.use, &need[i].use);
	}
	int r = find_budget(run, &total, &budget, err);
	gpu.own = overhead(run, &gpu.use);
	if (r == 0 && (gpu.own > budget || gpu.alloc > budget - gpu.own)) {
		r = refuse(run, total, budget, gpu.alloc > UINT64_MAX - gpu.own ? UINT64_MAX : gpu.own + gpu.alloc, err);
	}
	if (r != 0) {
		return r;
	}
	gpu.least = gpu.own + gpu.alloc;
	uint64_t room = min_u64(boundaries, budget - gpu.least);
	gpu.bytes = max_u64(gpu.least + room, min_u64(budget, gpu.own + wanted));
	run->device.boundary_room = room;
	run->gpu = gpu;
	*ret_bytes = gpu.bytes;
	for (size_t i = 0; i < n; i++) {
		divided = need[i].lanes > 1 ? &need[i] : divided;
	}
	return cwe_run_several_plan(run, divided, budget, err);
}

/* What the bound becomes when less than planned is free, yet enough: boundaries leave the GPU. */
static int shrink(struct cwe_run *run, struct cwb_err *err)
{
	const struct cwe_device *d = &run->device;
	struct cwe_run_gpu *gpu = &run->gpu;
	uint64_t total = 0, idle = 0;
	int r = cwe_device_check(&run->device, "memory", d->ops->memory(d->b, &total, &idle), err);
	if (r == 0 && idle < gpu->bytes && idle >= gpu->least) {
		uint64_t room = idle - gpu->least;
		gpu->bytes = idle;
		run->device.boundary_room = min_u64(run->device.boundary_room, room);
	}
	return r;
}

static int try_reserve(struct cwe_run *run, void *arg, struct cwb_err *err)
{
	const struct cwe_device *d = &run->device;
	(void)arg;
	int r = shrink(run, err);
	return r == 0 ? cwe_device_check(&run->device, "reserve", d->ops->reserve(d->b, run->gpu.bytes, &run->gpu.use), err) : r;
}

int cwe_run_gpu_wait(struct cwe_run *run, int (*try_it)(struct cwe_run *run, void *arg, struct cwb_err *err), void *arg,
	struct cwb_err *err)
{
	const struct cwp_host *host = &run->p->host->table;
	struct cwb_err why = {0};
	uint64_t wait = run->job->limits.gpu_wait, seconds = 0;
	int r = try_it(run, arg, &why);
	for (; r == -ENOMEM && seconds < wait && !host->cancelled(host->ctx); seconds += STEP) {
		if (seconds == 0) {
			host->log(host->ctx, CWP_LOG_INFO, why.message);
		}
		(void)nanosleep(&(struct timespec){.tv_sec = STEP}, NULL);
		cwb_err_clear(&why);
		r = try_it(run, arg, &why);
	}
	if (r == -ENOMEM && host->cancelled(host->ctx)) {
		return cwe_run_cancelled(run, err);
	}
	return r != -ENOMEM ? (r == 0 ? 0 : cwb_err_set(err, r, "%s", why.message))
		: cwb_err_set(err, r, "%s; waited %" PRIu64 " s (limits.gpu-wait)", why.message, seconds);
}

int cwe_run_gpu_reserve(struct cwe_run *run, struct cwb_err *err)
{
	return cwe_device_remote(&run->device) && run->gpu.bytes > 0 ? cwe_run_gpu_wait(run, try_reserve, NULL, err) : 0;
}

uint64_t cwe_run_gpu_free(const struct cwe_run *run, const struct cwe_device *device)
{
	uint64_t had = run->gpu.bytes > run->gpu.own ? run->gpu.bytes - run->gpu.own : 0;
	had -= had / ROUNDING_PART;
	return !cwe_device_remote(device) ? UINT64_MAX : had > device->allocated ? had - device->allocated : 0;
}

int cwe_run_gpu_take(const struct cwe_run *run, struct cwe_device *device, uint64_t bytes, const char *what, struct cwb_err *err)
{
	uint64_t idle = cwe_run_gpu_free(run, device);
	if (bytes > idle) {
		return cwb_err_set(err, CWP_ELIMIT, "%s may need %" PRIu64 " bytes on the GPU, but of what the job has there %" PRIu64
			" are left: raise limits.gpu-memory, take a larger GPU, or use backend: cpu", what, bytes, idle);
	}
	device->boundary_room = min_u64(device->boundary_room, idle - bytes);
	return 0;
}

/* Tokens of all sets, of the longest sample and of the longest sequence. */
static uint64_t count_tokens(const struct cwe_run *run, uint64_t *ret_widest, uint64_t *ret_longest)
{
	uint64_t all = 0;
	*ret_widest = *ret_longest = 0;
	for (size_t s = 0; s < run->sets; s++) {
		all += run->set[s].tokens;
		for (size_t i = 0; i < run->set[s].count; i++) {
			const struct cwe_sample *sample = &run->set[s].sample[i];
			uint64_t tokens = 0;
			for (size_t q = 0; q < sample->count; q++) {
				tokens += sample->sequence[q].count;
				*ret_longest = max_u64(*ret_longest, sample->sequence[q].count);
			}
			*ret_widest = max_u64(*ret_widest, tokens);
		}
	}
	return all;
}

int cwe_run_piece_tokens(struct cwe_run *run, uint64_t *ret, struct cwb_err *err)
{
	uint64_t total, budget, widest, longest, tokens = count_tokens(run, &widest, &longest), piece = CWE_PIECE_TOKENS;
	struct cwe_need need;
	*ret = piece;
	if (!cwe_device_remote(&run->device)) {
		return 0;
	}
	uint64_t there = cwe_quantizing_device_bytes(run, cwe_run_may_protect(run));
	int r = find_budget(run, &total, &budget, err);
	uint64_t divided = cwe_run_lane_piece(run, tokens), lanes = divided < UINT64_MAX ? run->several.n : 1;
	/* A quantizer that is calibrated sees all samples on one GPU. */
	uint64_t part = run->quantizer_needs != 0 ? tokens : tokens / lanes;
	while (piece > divided) {
		piece /= 2;
	}
	for (uint64_t most = PIECE_MOST; r == 0 && most > piece && most <= divided; most /= 2) {
		uint64_t at_once = max_u64(min_u64(most, tokens), widest);
		struct cwe_calibration_bounds b;
		cwe_calibration_bounds(&run->model, min_u64(tokens, part + at_once), at_once, longest, run->needs | run->quantizer_needs, &b);
		cwe_need_passes(&need, &run->model, at_once);
		need.use.handles = lanes;
		uint64_t own = overhead(run, &need.use);
		piece = own < budget && b.device + there <= budget - own ? most : piece;
	}
	*ret = piece;
	return r;
}
