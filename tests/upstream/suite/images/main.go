// Prints the images that the suite names, one a line.
package main

import (
	"fmt"
	"slices"

	"k8s.io/kubernetes/test/utils/image"
)

func main() {
	var names []string
	for _, config := range image.GetImageConfigs() {
		names = append(names, config.GetE2EImage())
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		fmt.Println(name)
	}
}
