// Command protobuf encodes objects as a typed Go client does. It reads a JSON object of objects from standard input and
// writes the same keys with base64 of the protobuf encoding. It is how tests/differential/protobuf.yaml is made.
package main

import (
	"bytes"
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	var objects map[string]json.RawMessage
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		log.Fatal(err)
	}
	encoder := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	encoded := map[string][]byte{}
	for name, text := range objects {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(text, nil, nil)
		if err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		var out bytes.Buffer
		if err := encoder.Encode(object, &out); err != nil {
			log.Fatalf("%s: %v", name, err)
		}
		encoded[name] = out.Bytes()
	}
	if err := json.NewEncoder(os.Stdout).Encode(encoded); err != nil {
		log.Fatal(err)
	}
}
