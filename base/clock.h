/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* How much time goes by. */
#pragma once

/* Seconds since some moment before this program began; setting the system's clock does not move it. [any-thread] */
double cwb_clock_now(void);
