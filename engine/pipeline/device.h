/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* What computes: the backend that a job gets, and the memory that stages take of it. On a backend with memory of its own, a
 * GPU, that memory is planned, reserved at once before the first stage, and what is left of it holds boundaries. Elsewhere
 * it is memory like any other. */
#pragma once

#include "engine/pipeline/run.h"

/* Opens the backend that the job asks for, in its precision. */
int cwe_run_device_open(struct cwe_run *run, struct cwb_err *err);

/* {backend, precision, uuid, gpus, uuids, why}: uuid null where there is nothing to choose from; gpus: how many the job uses, 0 on
 * the CPU; uuids: of all of them; why: of auto that took the CPU, else null.
 * NULL: no memory. */
json_t *cwe_run_device_json(const struct cwe_run *run);

/* One line for the log where it is not the CPU. */
void cwe_run_device_log(const struct cwe_run *run);

/* Bytes of the host's memory up to which the job may take more than it needs, for speed: limits.memory, else what the program was
 * told, else a quarter of what the machine has. */
uint64_t cwe_run_memory_most(const struct cwe_run *run);

/* Seconds between checkpoints at most, on a GPU, which is through a layer before its checkpoint would be written. */
#define CWE_CHECKPOINT_PAUSE 60

/* Bytes that a stage takes at most. */
struct cwe_need {
	uint64_t host;       /* memory of the host, but boundaries, and but `device` where that is the host's too */
	uint64_t device;     /* what the backend's alloc() gives, but boundaries */
	uint64_t boundaries; /* wherever they lie */
	uint64_t wanted;     /* of alloc(), with what makes it faster */
	struct cwp_backend_use use;
	uint32_t lanes;      /* GPUs that have this each, with boundaries of their own part; 0 or 1: one */
};

/* Fills in ->use: passes of a model over pieces of at most so many tokens. */
void cwe_need_passes(struct cwe_need *need, const struct cwe_model *model, uint64_t widest);
/* Memory of the host; where boundaries are on the GPU they are no part of it. */
uint64_t cwe_need_memory(const struct cwe_run *run, const struct cwe_need *need);
/* Whether boundaries are on scratch. */
int cwe_need_spills(const struct cwe_run *run, uint64_t boundaries);
/* The same of a stage on several GPUs. */
int cwe_need_spills_all(const struct cwe_run *run, const struct cwe_need *need);

/* What the stages [n] need of a GPU together: run->gpu, the room that boundaries have there, and the bound. 0 on the CPU.
 * CWP_ELIMIT where limits.gpu-memory is less, or the GPU is too small. */
int cwe_run_gpu_plan(struct cwe_run *run, const struct cwe_need *need, size_t n, uint64_t *ret_bytes, struct cwb_err *err);
/* Takes what was planned. Waits up to limits.gpu-wait while another program holds it; then -ENOMEM, and a later attempt may
 * succeed. With less free than was planned, boundaries leave the GPU. Once a run. */
int cwe_run_gpu_reserve(struct cwe_run *run, struct cwb_err *err);
/* Calls try until it does not return -ENOMEM, for up to limits.gpu-wait. */
int cwe_run_gpu_wait(struct cwe_run *run, int (*try_it)(struct cwe_run *run, void *arg, struct cwb_err *err), void *arg,
	struct cwb_err *err);
/* Bytes of alloc() that nobody has yet; UINT64_MAX where memory is the host's. device: where a run's copy counts elsewhere. */
uint64_t cwe_run_gpu_free(const struct cwe_run *run, const struct cwe_device *device);
/* What no plan could know: `what` needs so many bytes of alloc() beside boundaries, which get less room if need be. CWP_ELIMIT. */
int cwe_run_gpu_take(const struct cwe_run *run, struct cwe_device *device, uint64_t bytes, const char *what, struct cwb_err *err);

/* Tokens of a piece of the samples: as many as go through the layers at once. A GPU takes more, to be busy, unless its memory
 * or limits.gpu-memory is too small for that: last bits of statistics depend on it. */
int cwe_run_piece_tokens(struct cwe_run *run, uint64_t *ret, struct cwb_err *err);
