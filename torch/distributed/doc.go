// Package distributed joins processes into a group that trains one model: c10d's collectives, the sum of gradients over
// all processes while backward still runs, and the word that one of them has died.
//
// # Joining
//
// [FromEnvironment] reads who this process is from the variables that torchrun, Slurm or `train --nproc-per-node` set, and
// [Init] meets the others. A world of one process needs no variable and no network; every method then does nothing, so
// that a program has one path.
//
// # Collectives
//
// [Group.AllReduce], [Group.AllGather] and their neighbours are operators: they panic with *torch.Error inside torch.Do.
// All ranks call the same ones in the same order, from one goroutine. Sums are sums, never means: each rank computes its
// part of the loss, and the parts' sum is the loss, so the sum of the gradients is its gradient.
//
// # When a rank fails
//
// Every rank holds a connection to rank 0 and says each few seconds that it lives. A rank that ends without [Group.Close],
// tells of an error by [Group.Fail], or is silent for [Options.Silence], ends the group: what waits in a collective on any
// rank fails at once with the *[RankError] that names it, and [Group.Done] is closed.
package distributed
