"""The walk on a GPU: `walk.GpuWalk` over `plan.Plan`, whoever runs the networks."""
