/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A model opened for computing: its shapes, where each weight is, and the device it runs on. Weights are read a layer
 * at a time; nothing here holds the whole model unless asked to. */
#pragma once

#include "engine/format/source.h"
#include "engine/model/arch.h"
#include "engine/model/device.h"

/* The Linears of a decoder layer, in the order used everywhere. */
enum cwe_linear { CWE_Q, CWE_K, CWE_V, CWE_O, CWE_GATE, CWE_UP, CWE_DOWN, CWE_LINEARS };

struct cwe_model {
	struct cwe_arch arch;
	struct cwe_source *source;   /* borrowed */
	struct cwe_weights *weights; /* borrowed: the source's, or a view of it (quantized on the fly) */
	struct cwe_device *device;   /* borrowed */
	uint32_t activation;         /* enum cwp_activation_kind that every decoder Linear applies to its input */
};

/* One layer's weights on the device, f32. */
struct cwe_layer {
	uint32_t index;
	float *d_norm_attention; /* [hidden] */
	float *d_norm_mlp;       /* [hidden] */
	float *d_weight[CWE_LINEARS]; /* [out, in] */
	float *d_bias[CWE_LINEARS];   /* [out], or NULL */
	float *d_block; /* the one allocation behind all of them */
	uint64_t bytes;
};

/* Checks config and that every needed tensor is there with the shape that config says. weights: NULL for the
 * source's own. Source, weights and device stay the caller's and must outlive the model. */
int cwe_model_open(struct cwe_source *source, struct cwe_weights *weights, struct cwe_device *device,
	struct cwe_model *ret, struct cwb_err *err);

/* Shape of a Linear [rows = out, cols = in]. */
void cwe_linear_shape(const struct cwe_arch *arch, enum cwe_linear linear, uint64_t *ret_rows, uint64_t *ret_cols);
/* "self_attn.q_proj" and so on. */
const char *cwe_linear_name(enum cwe_linear linear);
/* "model.layers.3.mlp.up_proj" into buffer; returns buffer. */
char *cwe_module_name(uint32_t layer, enum cwe_linear linear, char *buffer, size_t size);
#define CWE_MODULE_NAME_MAX 96

/* Bytes of one layer's weights as f32. */
uint64_t cwe_layer_bytes(const struct cwe_arch *arch);
/* Allocates room for a layer's weights; then cwe_layer_load fills it, as often as wanted. */
int cwe_layer_new(struct cwe_model *model, struct cwe_layer *ret, struct cwb_err *err);
void cwe_layer_free(struct cwe_model *model, struct cwe_layer *layer);
/* Reads layer index. CWP_ENUMBER, naming the tensor, when a weight is NaN or infinite. */
int cwe_layer_load(struct cwe_model *model, uint32_t index, struct cwe_layer *layer, struct cwb_err *err);

/* Rows of the embedding matrix -> d_x [count, hidden], each read once. CWP_ENUMBER as above; CWP_EVALUE
 * when an id is not in the vocabulary. */
int cwe_model_embed(struct cwe_model *model, const uint32_t *id, uint64_t count, float *d_x, struct cwb_err *err);
/* Rows [first, first + rows) of the output projection (or of the embedding, when tied) -> d_w [rows, hidden]. */
int cwe_model_head_rows(struct cwe_model *model, uint64_t first, uint64_t rows, float *d_w, struct cwb_err *err);
/* The final norm's weight -> d_w [hidden]. */
int cwe_model_final_norm(struct cwe_model *model, float *d_w, struct cwb_err *err);
