// Judges resources as Argo CD does, with a health script in its own Lua runtime: a JSON list of resources in, a list of
// {status, message} out. --kind names what the script is for, as `resource.customizations.health.GROUP_KIND` in argocd-cm does.
package main

import (
	"encoding/json"
	"flag"
	"log"
	"os"

	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"github.com/argoproj/gitops-engine/pkg/health"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func main() {
	log.SetFlags(0)
	path := flag.String("script", "health.lua", "the health script")
	kind := flag.String("kind", "", "GROUP/KIND that the script is for")
	flag.Parse()
	script, err := os.ReadFile(*path)
	if err != nil {
		log.Fatal(err)
	}
	var resources []unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&resources); err != nil {
		log.Fatal(err)
	}
	overrides := lua.ResourceHealthOverrides{*kind: v1alpha1.ResourceOverride{HealthLua: string(script)}}
	verdicts := []verdict{}
	for i := range resources {
		result, err := health.GetResourceHealth(&resources[i], overrides)
		if err != nil {
			log.Fatalf("%s: %v", resources[i].GetName(), err)
		}
		if result == nil {
			log.Fatalf("%s: %q is not its kind, so Argo CD has no script for it", resources[i].GetName(), *kind)
		}
		verdicts = append(verdicts, verdict{string(result.Status), result.Message})
	}
	if err := json.NewEncoder(os.Stdout).Encode(verdicts); err != nil {
		log.Fatal(err)
	}
}
