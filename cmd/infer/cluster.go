package main

import (
	"context"
	"fmt"
	"math"
)

type clusterCmd struct {
	Index    string `help:"Directory of the index (default: .goclip in the working directory or above it)." placeholder:"DIR" complete:"dirs"`
	Clusters int    `help:"Number of groups (default: the square root of half the images)." placeholder:"N"`
	Seed     uint64 `help:"Seed of the initial centres."`
	HTML     string `name:"html" help:"Write the groups as an HTML page in which images can be marked; nothing is deleted." placeholder:"FILE"`
	Format   string `help:"table, json or csv." default:"table" enum:"table,json,csv"`

	filterFlags `group:"Only images"`
}

func (*clusterCmd) Help() string {
	return `Examples:

  infer cluster --html groups.html                  the index in the working directory or above
  infer cluster --index INDEX --clusters 50 --format csv`
}

func (c *clusterCmd) Run(ctx context.Context, io *streams) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if c.Clusters < 0 || c.Clusters > maxTop {
		return usageError(fmt.Sprintf("cluster: --clusters %d: must be between 1 and %d", c.Clusters, maxTop))
	}
	ix, err := openFound(c.Index)
	if err != nil {
		return err
	}
	defer ix.Close()
	k := c.Clusters
	if k == 0 {
		info, err := ix.Info(ctx)
		if err != nil {
			return err
		}
		k = max(1, int(math.Sqrt(float64(info.Images)/2)+.5))
	}
	groups, err := ix.Clusters(ctx, k, c.Seed, filter)
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := writeGroups(ctx, c.HTML, fmt.Sprintf("Images that are alike: %d groups", len(groups)), groups, io.err); err != nil {
			return err
		}
	}
	return (&searchCmd{Format: c.Format, Duplicates: true}).printDuplicates(io, groups)
}
