/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Memory of the host that was given out. Large memory is there at once as any other; a thread of its own touches all of it and has the
 * driver pin it, which takes a second for some gigabytes, while the computation goes on. Transfers into it wait for that thread
 * alone. */
#ifndef CUDA_PINNED_H
#define CUDA_PINNED_H

#include "plugins/backends/cuda/cuda.h"

/* Memory that is smaller is pinned before it is given out. */
enum { CUDA_PINNED_LATER = 64 << 20 };

/* fetch() of backend.h: on the stream beside, after what the operations' stream does so far; later where dst is not pinned yet. */
cudaError_t cuda_pinned_fetch(struct cuda *b, cudaStream_t beside, cudaEvent_t before, void *dst, const void *d_src, size_t bytes);
/* All fetches were given to their streams. */
cudaError_t cuda_pinned_fetched(struct cuda *b);
/* Until it is pinned, where it is memory of ours. */
void cuda_pinned_wait(struct cuda *b, const void *p, size_t bytes);

#endif
