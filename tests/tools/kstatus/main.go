// Judges resources as Flux does, by its kstatus library: a JSON list of resources in, a list of {status, message} out.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	log.SetFlags(0)
	var resources []unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&resources); err != nil {
		log.Fatal(err)
	}
	verdicts := []verdict{}
	for i := range resources {
		result, err := status.Compute(&resources[i])
		if err != nil {
			log.Fatalf("%s: %v", resources[i].GetName(), err)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		log.Fatal(err)
	}
}
