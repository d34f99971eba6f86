/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Where attention's tiles lie in shared memory and which element of a tile a lane of a warp holds: the layouts of ldmatrix and
 * of mma.m16n8k16 as the PTX ISA describes them. Plain C, so that a test without a GPU can check it.
 *
 * A tile is rows of d BF16 numbers (d divisible by 32), cut into chunks of 8 (16 bytes, what one lane loads). The chunks of a
 * row are permuted by an exclusive or with a number that follows from the row, so that the same chunk of 8 neighbouring rows
 * lies in all 32 banks. */
#ifndef CUDA_ATTENTION_LAYOUT_H
#define CUDA_ATTENTION_LAYOUT_H

#ifdef __CUDACC__
#define LAYOUT static __host__ __device__ __forceinline__
#else
#define LAYOUT static inline
#endif

/* What the numbers of row's chunks are combined with. It is the same for rows 16 apart. */
LAYOUT int layout_mask(int d, int row)
{
	return d % 64 == 0 ? row & 7 : (row >> 1) & 3;
}

/* Bytes from the tile's begin to the chunk of (row, col); col is divisible by 8. */
LAYOUT int layout_at(int d, int row, int col)
{
	return row * d * 2 + (((col >> 3) ^ layout_mask(d, row)) << 4);
}

/* ldmatrix.x4 takes the address of one row of 8 numbers from each lane: lanes 0-7 give the first 8x8 matrix, and so on. Two
 * orders of the four parts of a 16x16 part of a tile are needed. Rows first: (0,0), (8,0), (0,8), (8,8). */
LAYOUT int layout_rows_row(int lane)
{
	return lane & 15;
}

LAYOUT int layout_rows_col(int lane)
{
	return (lane >> 4) * 8;
}

/* Columns first: (0,0), (0,8), (8,0), (8,8). */
LAYOUT int layout_cols_row(int lane)
{
	return (lane & 7) + (lane >> 4) * 8;
}

LAYOUT int layout_cols_col(int lane)
{
	return ((lane >> 3) & 1) * 8;
}

/* A lane's address for the 16x16 parts of a tile has a fixed share, of its row, and a share that varies with the part's
 * column, which an exclusive or gives: layout_at(d, row0 + row, col0 + col) is
 * row0 * 2 * d + layout_fixed(d, row) + layout_varying(layout_turn(d, row, col), col0) for row0 and col0 divisible by 16. */
LAYOUT int layout_fixed(int d, int row)
{
	return row * d * 2;
}

LAYOUT int layout_turn(int d, int row, int col)
{
	return ((col >> 3) ^ layout_mask(d, row)) << 4;
}

LAYOUT int layout_varying(int turn, int col0)
{
	return (col0 * 2) ^ turn;
}

/* Element i (0 .. 3) of a lane's share of an accumulator [16, 8]. */
LAYOUT int layout_sum_row(int lane, int i)
{
	return (lane >> 2) + (i >> 1) * 8;
}

LAYOUT int layout_sum_col(int lane, int i)
{
	return (lane & 3) * 2 + (i & 1);
}

#endif
