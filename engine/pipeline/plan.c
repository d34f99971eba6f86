/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What a job will need, from shapes alone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "engine/calibrate/calibrate.h"
#include "engine/calibrate/loglik.h"
#include "engine/pipeline/budget.h"
#include "engine/pipeline/cache.h"
#include "engine/pipeline/candidates.h"
#include "engine/pipeline/device.h"
#include "engine/pipeline/drift.h"
#include "engine/pipeline/quantize_device.h"
#include "engine/pipeline/run.h"
#include "engine/pipeline/sequential.h"
#include "engine/pipeline/several.h"
#include "engine/pipeline/strips.h"
#include "engine/pipeline/super.h"

/* Program, libraries, generated kernels, thread stacks and buffers of files: measured with room to spare. */
#define BASE_MEMORY (160ull << 20)
/* The same of a job that only quantizes. */
#define PLAIN_MEMORY (64ull << 20)
/* Packing buffers of the matrix products, a thread. */
#define THREAD_MEMORY (24ull << 20)
/* A GPU's driver and libraries in the host's memory, each GPU's. */
#define DRIVER_MEMORY (1ull << 30)
/* Caches of texts that are generated on a GPU, and what a step takes. */
#define GENERATION_MEMORY (2ull << 30)

/* A token in a part of the samples. */
#define TOKEN_PART (2 * sizeof(uint32_t) + sizeof(float))

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* Nothing runs through the model: no kernels are generated, and nothing is multiplied. */
static int only_quantizes(const struct cwe_run *run)
{
	return run->scorer == NULL && run->quantizer_needs == 0 && run->job->n_evaluations == 0;
}

static uint64_t text_memory(const struct cwe_run *run)
{
	uint64_t tokens = run->corpus.tokens;
	return (run->tokenizer != NULL ? cwe_tokenizer_size(run->tokenizer) * CWE_TOKENIZER_BYTES : 0) +
		tokens * (3 * sizeof(uint32_t) + 2 * sizeof(float));
}

uint64_t cwe_run_base_memory(const struct cwe_run *run)
{
	uint64_t base = only_quantizes(run) ? PLAIN_MEMORY
		: BASE_MEMORY + cwe_pool_threads(run->p->host->pool) * THREAD_MEMORY;
	base += cwe_device_remote(&run->device) ? cwe_run_lanes(run) * DRIVER_MEMORY : 0;
	return base + text_memory(run) + run->source->merge_memory + run->beside;
}

/* Scores on scratch: each set's, as score.store says, and the combined ones in f32; or candidates. */
static uint64_t tile_bytes(const struct cwe_run *run)
{
	if (run->job->scale_pilot) {
		return cwe_candidates_bytes(run);
	}
	return run->weights * (run->sets * (run->job->store_bf16 ? sizeof(uint16_t) : sizeof(float)) + sizeof(float));
}

/* Histograms of all sets, and of the one that is being counted. */
static uint64_t rank_memory(const struct cwe_run *run)
{
	return run->job->combine == CWJ_COMBINE_RANK ? (run->sets + 1) * CWE_RANK_BYTES : 0;
}

/* Combination of one module, with the candidates' histogram where only those are kept. */
static uint64_t combine_memory(const struct cwe_run *run)
{
	return run->largest * sizeof(float) * (run->sets + 3) + run->widest * sizeof(double) + rank_memory(run) +
		(run->job->scale_pilot ? cwe_candidates_memory(run) : 0);
}

/* Calibration and scoring. */
static void score_bounds(const struct cwe_run *run, struct cwe_calibration_bounds *b, struct cwe_need *ret)
{
	if (run->scorer == NULL) {
		return;
	}
	uint32_t lanes = cwe_run_lanes(run);
	cwe_calibration_bounds(&run->model, cwe_run_lane_tokens(run), run->corpus.widest, run->corpus.longest, run->needs, b);
	/* Of several, one hands statistics over; each has its part of the samples. */
	uint64_t others = lanes > 1 ? (lanes - 1) * (b->host - cwe_statistics_host_bytes(&run->model, run->needs)) +
		lanes * run->corpus.tokens * TOKEN_PART : 0;
	ret->host = b->host + others + run->largest * sizeof(float) + (run->job->scale_pilot ? combine_memory(run) : 0);
	ret->device = b->device;
	ret->boundaries = b->boundaries;
	ret->lanes = lanes;
	cwe_need_passes(ret, &run->model, run->corpus.widest);
	ret->use.handles = lanes;
}

static uint64_t score_scratch(const struct cwe_run *run, const struct cwe_calibration_bounds *b, const struct cwe_need *need)
{
	if (need->lanes > 1) { /* nothing is kept */
		return tile_bytes(run) + (cwe_need_spills_all(run, need) ? need->lanes * b->boundaries : 0);
	}
	/* The gradient beside the checkpoints needs room of its own where boundaries do not fit. */
	return run->scorer == NULL ? 0 : b->kept + (cwe_need_spills(run, b->boundaries) ? b->boundaries - b->kept : 0) + b->checkpoint +
		tile_bytes(run);
}

/* The model that an evaluation needs most memory for: the output, whose inputs may be quantized. */
static struct cwe_model evaluated(const struct cwe_run *run)
{
	struct cwe_model m = run->model;
	for (size_t i = 0; i < run->modules; i++) {
		m.quantizes |= run->module[i].quantized && run->module[i].grid.activation != CWP_ACT_NONE;
	}
	m.splits = m.quantizes && cwe_run_may_protect(run) &&
		(run->job->carrier == CWJ_CARRIER_OVERLAY || run->job->carrier == CWJ_CARRIER_ADAPTER);
	return m;
}

/* A request's own arrays, its answer, and the bookkeeping of what it shares. */
#define REQUEST_BYTES 256ull
/* A token in the list of requests, in the layout, and its score. */
#define TOKEN_BYTES (2 * sizeof(uint32_t) + 3 * sizeof(uint32_t) + sizeof(float) + 1 + 3)

/* Where texts are generated, weights that stay on the GPU make it many times faster. */
static uint64_t generation_wish(const struct cwe_run *run, const struct cwe_model *m)
{
	const struct cwe_arch *a = &m->arch;
	return run->asked.generated == 0 ? 0
		: a->layers * cwe_layer_bytes(m) + (uint64_t)a->vocabulary * a->hidden * sizeof(float) + GENERATION_MEMORY;
}

/* What is generated says itself what it needs, once a model is at work (benchmark_generate.c). */
static void evaluation_bounds(const struct cwe_run *run, struct cwe_need *ret, uint64_t *ret_scratch)
{
	const struct cwe_run_asked *asked = &run->asked;
	uint64_t bytes = 0, drift_memory;
	*ret_scratch = 0;
	for (size_t i = 0; i < run->job->n_evaluations; i++) {
		const json_t *file = json_object_get(run->inputs, run->job->evaluations[i].path);
		bytes += (uint64_t)json_integer_value(json_object_get(file, "size"));
	}
	if (run->job->n_evaluations == 0) {
		return;
	}
	const struct cwe_model model = evaluated(run);
	uint64_t widest = max_u64(CWE_PIECE_TOKENS, asked->longest), longest = max_u64(asked->longest, 1);
	uint64_t host = cwe_loglik_host_bytes(&model, asked->most, widest), next = cwe_next_bytes(&model, asked->drifts);
	ret->device = cwe_loglik_bytes(&model, asked->most, widest, longest, &ret->boundaries) - host + next;
	ret->wanted = generation_wish(run, &model);
	cwe_need_passes(ret, &model, widest);
	cwe_drift_bounds(asked->drifts, run->model.arch.vocabulary, &drift_memory, ret_scratch);
	/* Of distributions, both sides have about as much. */
	ret->host = host + drift_memory + (cwe_device_remote(&run->device) ? next : 0) + bytes * 4 + asked->tokens * TOKEN_BYTES +
		asked->requests * REQUEST_BYTES + run->largest * 2 * sizeof(float);
}

/* Where a job fits its limit with fewer threads, it gets fewer: nothing but time depends on them. Returns the bytes saved. */
static uint64_t spare_threads(const struct cwe_run *run, uint64_t memory)
{
	struct cwe_pool *pool = run->p->host->pool;
	uint64_t limit = run->job->limits.memory, threads = cwe_pool_threads(pool);
	uint64_t over = limit > 0 && memory > limit ? (memory - limit + THREAD_MEMORY - 1) / THREAD_MEMORY : 0;
	return over > 0 && over < threads && !only_quantizes(run) && cwe_pool_limit(pool, (uint32_t)(threads - over)) ? over * THREAD_MEMORY : 0;
}

/* Bytes that are free for scratch, with those that an earlier attempt of this job took already; UINT64_MAX: not known. */
static uint64_t free_scratch(const struct cwe_run *run)
{
	struct statvfs fs;
	DIR *dir = opendir(run->p->scratch);
	if (dir == NULL || fstatvfs(dirfd(dir), &fs) != 0) {
		if (dir != NULL) {
			(void)closedir(dir);
		}
		return UINT64_MAX;
	}
	uint64_t bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
		struct stat st;
		/* What is a link to the cache is counted there. */
		if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1) {
			bytes += (uint64_t)st.st_blocks * 512;
		}
	}
	(void)closedir(dir);
	return bytes + cwe_cache_shared(run);
}

/* What is only kept for later jobs gives way to this one. */
static int check_free(struct cwe_run *run, uint64_t need, struct cwb_err *err)
{
	uint64_t bytes = free_scratch(run);
	if (bytes < need && cwe_cache_make_room(run, need - bytes) > 0) {
		bytes = free_scratch(run);
	}
	return bytes >= need ? 0 : cwb_err_set(err, -ENOSPC, "scratch folder %s has %" PRIu64 " bytes free, but the job may need "
		"%" PRIu64 ": free space or choose another folder", run->p->scratch, bytes, need);
}

/* A search tries outputs on scratch, each at most as large as the model and what carries its protected weights, and keeps the
 * scores for all of them. */
static uint64_t search_scratch(const struct cwe_run *run)
{
	uint64_t bytes = tile_bytes(run) + 8 * cwe_fraction_count(run->job->at_most, run->weights);
	for (size_t i = 0; i < run->source->weights->count; i++) {
		const struct cwe_tensor *t = &run->source->weights->tensors[i];
		uint64_t n = 1;
		for (uint32_t k = 0; k < t->rank; k++) {
			n *= t->shape[k];
		}
		bytes += n * sizeof(float);
	}
	return bytes;
}

/* What only the host does: combining, selecting, quantizing rows. */
static uint64_t host_memory(struct cwe_run *run, const struct cwe_need *sequential)
{
	uint64_t n = run->largest, calibrated = run->quantizer_needs != 0 ? n * sizeof(float) + cwe_need_memory(run, sequential) : 0;
	uint64_t select = run->scorer != NULL ? combine_memory(run) + cwe_run_budget_memory(run) : 0;
	uint64_t quantize = cwe_run_by_strips(run, cwe_run_may_protect(run)) ? cwe_run_strips_memory(run)
		: n * (2 * sizeof(float) + 6) + calibrated;
	return max_u64(select, quantize);
}

static int check_limits(const struct cwe_run *run, const struct cwe_bounds *b, struct cwb_err *err)
{
	const struct cwj_limits *l = &run->job->limits;
	if (l->memory > 0 && b->memory > l->memory) {
		return cwb_err_set(err, CWP_ELIMIT, "limits.memory is %" PRIu64 " bytes, but the job may need %" PRIu64
			": raise it, or shorten the calibration sets", l->memory, b->memory);
	}
	if (l->scratch > 0 && b->scratch > l->scratch) {
		return cwb_err_set(err, CWP_ELIMIT, "limits.scratch is %" PRIu64 " bytes, but the job may need %" PRIu64
			": raise it, or use fewer or shorter calibration sets", l->scratch, b->scratch);
	}
	return 0;
}

/* The GPU's memory. Where there is not enough to quantize on it too, that is left to the host. */
static int plan_gpu(struct cwe_run *run, struct cwe_need *need, size_t n, struct cwe_need *sequential, uint64_t *ret_bytes,
	struct cwb_err *err)
{
	uint64_t there = cwe_quantizing_device_bytes(run, cwe_run_may_protect(run));
	struct cwb_err first = {0};
	run->quantizes_there = there > 0;
	cwe_run_sequential_need(run, sequential);
	int r = cwe_run_gpu_plan(run, need, n, ret_bytes, there > 0 ? &first : err);
	if (there == 0 || r != CWP_ELIMIT) {
		return r == 0 || there == 0 ? r : cwb_err_set(err, r, "%s", first.message);
	}
	run->quantizes_there = 0;
	cwe_run_sequential_need(run, sequential);
	r = cwe_run_gpu_plan(run, need, n, ret_bytes, err);
	return r == 0 ? cwe_run_warn(run, err, "quantize: modules are quantized on the host, which takes longer: the GPU has no room for the "
		"%" PRIu64 " bytes that this takes there", there) : r;
}

/* Where a layer's inside waits for the backward pass it is not computed twice: what the job may take beyond its need goes there. */
static uint64_t inside_memory(const struct cwe_run *run, uint64_t need)
{
	uint64_t most = cwe_run_memory_most(run), room = most > need ? most - need : 0;
	uint64_t wish = run->scorer != NULL ? cwe_calibration_insides(&run->model, &run->corpus, run->needs) : 0;
	return wish < room ? wish : room;
}

int cwe_run_bounds(struct cwe_run *run, struct cwe_bounds *ret, struct cwb_err *err)
{
	enum { SCORE, SUPER, SEQUENTIAL, EVALUATION, NEEDS };
	struct cwe_need need[NEEDS] = {0};
	struct cwe_calibration_bounds score = {0};
	struct cwe_bounds b = {0};
	uint64_t eval_scratch, most = 0;
	score_bounds(run, &score, &need[SCORE]);
	cwe_run_super_need(run, &need[SUPER]);
	evaluation_bounds(run, &need[EVALUATION], &eval_scratch);
	if (cwe_plain_bytes(run) > 0) {
		need[EVALUATION].host += cwe_smoothing_memory(run);
	}
	int r = plan_gpu(run, need, NEEDS, &need[SEQUENTIAL], &b.gpu_memory, err);
	if (r != 0) {
		return r;
	}
	for (size_t i = 0; i < NEEDS; i++) {
		most = i != SEQUENTIAL ? max_u64(most, cwe_need_memory(run, &need[i])) : most;
	}
	b.memory = cwe_run_base_memory(run) + max_u64(most, host_memory(run, &need[SEQUENTIAL]));
	uint64_t scoring = cwe_run_base_memory(run) + cwe_need_memory(run, &need[SCORE]);
	run->inside_memory = inside_memory(run, scoring);
	b.memory = max_u64(b.memory, scoring + run->inside_memory);
	eval_scratch += cwe_need_spills(run, need[EVALUATION].boundaries) ? need[EVALUATION].boundaries : 0;
	b.scratch = max_u64(score_scratch(run, &score, &need[SCORE]), max_u64(eval_scratch + cwe_plain_bytes(run),
		cwe_run_sequential_scratch(run, need[SEQUENTIAL].boundaries)) + (run->scorer != NULL ? tile_bytes(run) : 0));
	b.scratch += run->job->search && run->p->search == NULL ? search_scratch(run) : 0;
	b.memory -= spare_threads(run, b.memory);
	if ((r = check_limits(run, &b, err)) != 0) {
		return r;
	}
	*ret = b;
	return run->p->scratch != NULL ? check_free(run, b.scratch, err) : 0;
}
