/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Layer-streaming calibration (doc/method.md): layer outside, samples inside. Each layer's weights are loaded once a pass,
 * every sample goes through, and the layer's statistics are complete before the next layer starts. */
#pragma once

#include "base/digest.h"
#include "engine/calibrate/head.h"
#include "engine/calibrate/statistics.h"

/* Devices that one calibration may use. */
#define CWE_LANES_MAX 64

struct cwe_lane;

struct cwe_calibration {
	struct cwe_model *model;
	const struct cwe_corpus *corpus;
	uint32_t needs;          /* enum cwp_statistic bits */
	const char *scratch;     /* folder for boundaries that do not fit, and for checkpoints; NULL: memory only */
	uint64_t boundary_memory; /* bytes of boundaries that may stay in memory */
	uint64_t inside_memory;  /* bytes in which logits and insides of layers may wait for the backward pass; what has no room is
				    computed again, to the same numbers. On the host alone */
	int checkpoint;          /* keep what is needed to go on after each layer (boundaries and gradients, in scratch) */
	uint32_t resume;         /* layers [resume, layers) are done already (gradients only); layers: nothing is done */
	const char *resume_digest; /* digest of the checkpoint of layer `resume`; with `layers`: the head is done; else NULL */

	void *arg;
	/* Statistics of layer, set and Linear are complete; layers come from the last to the first with gradients, from
	 * the first to the last without; where no statistics are asked for, no sample is run either. */
	int (*module)(void *arg, uint32_t layer, uint32_t set, uint32_t linear,
		const struct cwe_module_statistics *s, struct cwb_err *err);
	/* All sets of a layer are through. digest: of the file from which the next layer goes on, the gradient at this layer's
	 * input or, without gradients, the boundary at its output; "" when there is none. May be NULL. */
	int (*layer_done)(void *arg, uint32_t layer, const char *digest, struct cwb_err *err);
	/* Work done so far, in layer passes over tokens. May be NULL. */
	void (*progress)(void *arg, uint64_t done, uint64_t total);

	/* Results; may be NULL. */
	double *set_loss;        /* [sets] mean loss of the samples */
	struct cwe_head_trace *trace; /* with all-parameter statistics */
	/* Gradients of the layers' norms by sample [samples, cwe_norm_width], host memory valid during the call; may be NULL.
	 * With it, the biases' gradients are measured too. */
	int (*norm)(void *arg, uint32_t layer, uint32_t set, enum cwe_norm which, const float *dw, uint64_t samples,
		struct cwb_err *err);
	/* Gradient at the embeddings [tokens, hidden], at the end; may be NULL. */
	int (*embedding)(void *arg, struct cwe_boundary *gradient, struct cwb_err *err);

	/* Going on, with checkpoint. */
	uint32_t first;          /* without gradients: layers [0, first) are done already */
	/* Digests of the inputs of layers that earlier attempts kept [layers + 1], "" where there is none or it is of no use;
	 * without gradients, of layer `first` alone. NULL: none. */
	const char (*kept)[CWB_DIGEST_HEX];
	/* With gradients: the input of a layer is kept; `layers`: the output of the last one. May be NULL. */
	int (*boundary_done)(void *arg, uint32_t layer, const char *digest, struct cwb_err *err);
	/* The gradient at the output of the last layer is kept, and set_loss is complete. May be NULL. */
	int (*head_done)(void *arg, const char *digest, struct cwb_err *err);
	/* Seconds after a checkpoint in which no other is kept; 0: each layer's is. Where a layer takes less time than a checkpoint
	 * of it, an attempt may well do some layers again: their news come with the digest "", and once more. */
	double checkpoint_pause;
	double checkpoint_last;  /* of the run itself: when the last one was kept */
	/* Several devices (lanes.h): models of the same weights on the others. The samples are divided among all of them; their
	 * statistics are added. Without what is told by sample (trace, norm, embedding). With checkpoint, what is told again after a
	 * broken run are the layers that are not done; the passes are made anew. */
	struct cwe_model *const *more;
	uint32_t n_more;
	struct cwe_lane *lane;   /* which of them this is; NULL for callers */
	uint32_t passes;         /* result: all samples through one layer, forward or backward, or the head, in this run so far */
};

/* Bounds from shapes alone, in bytes. On a backend with memory of its own, `device` is what alloc() gives at most at one time;
 * boundaries lie there too as far as cwe_device's boundary_room goes, then in host memory, then on scratch. Elsewhere `device`
 * is memory like any other, and `host` is 0. */
struct cwe_calibration_bounds {
	uint64_t device;     /* boundaries left out */
	uint64_t host;       /* memory beside it, boundaries left out: what goes to and from the device */
	uint64_t boundaries; /* all of them, wherever they are; in the dtype that they have on this backend */
	uint64_t checkpoint; /* on scratch with checkpoints, beside the boundaries: gradients */
	uint64_t kept;       /* of boundaries, files of their own; where boundaries are on scratch, they are those files */
};
/* Whether samples have to be run for statistics (enum cwp_statistic bits), else they follow from the weights. */
int cwe_calibration_measures(uint32_t needs);
void cwe_calibration_bounds(const struct cwe_model *model, uint64_t tokens, uint64_t widest, uint64_t longest,
	uint32_t needs, struct cwe_calibration_bounds *ret);

/* Of inside_memory, what there is a use for. */
uint64_t cwe_calibration_insides(const struct cwe_model *model, const struct cwe_corpus *corpus, uint32_t needs);

/* Whether a checkpoint is to be kept now; one was. For the passes themselves. */
int cwe_calibration_due(const struct cwe_calibration *c);
void cwe_calibration_kept(struct cwe_calibration *c);

/* Runs it. Errors of the callbacks end it. CWP_ECANCELLED when the host says so, between pieces. [worker] */
int cwe_calibrate_run(struct cwe_calibration *c, struct cwb_err *err);
