/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A model opened for computing: its shapes, where each weight is, and the device it runs on. Weights are read a layer
 * at a time; nothing here holds the whole model unless asked to. */
#pragma once

#include "engine/format/source.h"
#include "engine/model/device.h"
#include "engine/model/linears.h"

struct cwe_model {
	struct cwe_arch arch;
	struct cwe_source *source;   /* borrowed */
	struct cwe_weights *weights; /* borrowed: the source's, or a view of it (quantized on the fly) */
	struct cwe_device *device;   /* borrowed */
	int quantizes;               /* some Linear quantizes its input, as its weights say; 0 makes all inputs exact */
	int splits;                  /* and some weights meet their input both ways */
	int by_sequence;             /* and some do it by what a whole sequence holds (CWP_ACT_INT8_OUTLIER) */
	const char *body;            /* what all tensors but the output projection begin with: "model." */
	const char *head;            /* tensor of the output projection: the embedding matrix when tied */
};

/* One layer's weights on the device, f32. */
struct cwe_layer {
	uint32_t index;
	float *d_norm[CWE_NORMS]; /* [cwe_norm_width], or NULL */
	float **d_weight; /* [cwe_linears] of [out, in] */
	float **d_bias;   /* [cwe_linears] of [out], or NULL */
	float **d_exact;  /* [cwe_linears] of [out, in]: what multiplies the exact input beside d_weight; NULL: nothing */
	struct cwe_linear_input *input; /* [cwe_linears] */
	float *d_block;   /* the one allocation behind all of them */
	uint64_t bytes;
	struct cwe_model_load *load; /* what is still to be read, while the layer is filled */
	size_t loads;
};

/* Checks config and that every needed tensor is there with the shape that config says. weights: NULL for the
 * source's own. Source, weights and device stay the caller's and must outlive the model. */
int cwe_model_open(struct cwe_source *source, struct cwe_weights *weights, struct cwe_device *device,
	struct cwe_model *ret, struct cwb_err *err);

/* Calls visit for each tensor that the model does not use, in the order of names: what a checkpoint of this family would
 * not have. The parts of a multimodal model beside its text model do not count. Ends with the first code that is not 0. */
int cwe_model_extra(const struct cwe_model *model, int (*visit)(void *arg, const char *name), void *arg);

/* One line that names some of them, and says how many there are; "" and 0 when there are none. Returns their number. */
size_t cwe_model_extra_text(const struct cwe_model *model, char *text, size_t size);

/* "model.layers.3.mlp.up_proj" of matrix `index` into buffer; returns buffer. */
char *cwe_module_name(const struct cwe_model *model, uint32_t layer, uint32_t index, char *buffer, size_t size);
/* "model.layers.3.input_layernorm" of a norm that the layers have; returns buffer. */
char *cwe_norm_name(const struct cwe_model *model, uint32_t layer, enum cwe_norm norm, char *buffer, size_t size);
/* Channels of a norm's weight, 0 when the layers have none. */
uint64_t cwe_norm_width(const struct cwe_arch *arch, enum cwe_norm norm);

/* Bytes of one layer's weights as f32: of the largest layer; its matrices count twice where some weights are split. */
uint64_t cwe_layer_bytes(const struct cwe_model *model);
/* Allocates room for any layer's weights; then cwe_layer_load fills it, as often as wanted. */
int cwe_layer_new(struct cwe_model *model, struct cwe_layer *ret, struct cwb_err *err);
void cwe_layer_free(struct cwe_model *model, struct cwe_layer *layer);
/* Reads layer index. CWP_ENUMBER, naming the tensor, when a weight is NaN or infinite. */
int cwe_layer_load(struct cwe_model *model, uint32_t index, struct cwe_layer *layer, struct cwb_err *err);
/* The same between cwe_device_load_begin and cwe_device_load_wait; by one thread that may not be the main one. */
int cwe_layer_fill(struct cwe_model *model, uint32_t index, struct cwe_layer *layer, struct cwb_err *err);
/* A role's part of its matrix. */
struct cwe_part {
	const float *d_weight; /* [rows, cols] */
	const float *d_exact;  /* likewise, or NULL */
	const float *d_bias;   /* or NULL */
	const struct cwe_linear_input *input;
	uint64_t rows, cols;
};
struct cwe_part cwe_layer_part(const struct cwe_model *model, const struct cwe_layer *layer, enum cwe_role role, uint32_t expert);

/* Rows of the embedding matrix, times embedding_scale -> d_x [count, hidden]. CWP_ENUMBER as above;
 * CWP_EVALUE when an id is not in the vocabulary. */
int cwe_model_embed(struct cwe_model *model, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err);
/* Rows [first, first + rows) of the output projection (or of the embedding, when tied) -> d_w [rows, hidden]. */
int cwe_model_head_rows(struct cwe_model *model, uint64_t first, uint64_t rows, float *d_w, struct cwb_err *err);
/* The same into host memory. */
int cwe_model_head_read(struct cwe_model *model, uint64_t first, uint64_t rows, float *w, struct cwb_err *err);
/* The final norm's weight -> d_w [hidden]. */
int cwe_model_final_norm(struct cwe_model *model, float *d_w, struct cwb_err *err);

/* The final norm: x [rows, hidden] -> y, with the factors that its backward pass needs [rows]. d_w as above. */
int cwe_model_norm(struct cwe_model *model, const float *d_x, const float *d_w, uint64_t rows, float *d_y, float *d_rstd,
	struct cwb_err *err);
/* dx is overwritten. d_dw: [samples, hidden], or NULL. */
int cwe_model_norm_backward(struct cwe_model *model, const float *d_dy, const float *d_x, const float *d_w,
	const float *d_rstd, uint64_t rows, float *d_dx, const struct cwp_sequences *samples, float *d_dw,
	struct cwb_err *err);
/* Logits [rows, n] of n rows of the output projection, d_w [n, hidden]. */
int cwe_model_logits(struct cwe_model *model, const float *d_h, uint64_t rows, const float *d_w, uint64_t n,
	float *d_logits, struct cwb_err *err);

/* A slice of the vocabulary for a batch of predictions; arrays as xent_backward of backend.h wants them. */
struct cwe_slice {
	uint64_t rows, n;
	uint32_t first;
	const uint32_t *d_target;
	const float *d_weight;
	const double *d_lse;
};

/* Logits of cwe_model_logits -> gradient of the loss at the product d_h W^T, in place. d_spare [rows, n] is used where
 * the family limits its logits (logit_softcap), else it may be NULL. */
int cwe_model_logits_backward(struct cwe_model *model, const struct cwe_slice *slice, float *d_logits, float *d_spare,
	struct cwb_err *err);
