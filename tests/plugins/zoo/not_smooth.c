/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A quantizer that may want to scale channels and cannot. */
#define MOCK_ID "not-smooth"
#define MOCK_SMOOTH NULL
#include "tests/plugins/zoo/mock_quantizer.c"
