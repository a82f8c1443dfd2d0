{{- /* Egress rules: those that the values give, or else to any address, on the ports of these URLs. */ -}}
{{- define "rehearsal.egress" -}}
{{- if .rules }}
{{- toYaml .rules }}
{{- else if .urls }}
{{- $ports := list }}
{{- range .urls }}
{{- $url := urlParse . }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) }}
{{- $ports = append $ports (dict "port" (int $port) "protocol" "TCP") }}
{{- end }}
{{- list (dict "ports" (uniq $ports)) | toYaml }}
{{- end }}
{{- end }}

{{- /* Where the stores are, and who lends credentials for those without a Secret. */ -}}
{{- define "rehearsal.stores" -}}
{{- $urls := list }}
{{- range .Values.platform.stores }}
{{- $urls = append $urls (.s3.endpoint | default "https://s3") }}
{{- if not .s3.secret }}
{{- $urls = append $urls "https://sts" }}
{{- end }}
{{- end }}
{{- toJson $urls }}
{{- end }}
