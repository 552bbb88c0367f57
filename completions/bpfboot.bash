# SPDX-License-Identifier: MIT OR Apache-2.0
# bash completion for bpfboot

_bpfboot() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} verb='' list='' one i
    local verbs='apply check status report diagnose explain undo attach detach events run caps render estimate inspect preflight profiles help'

    # The first bare word is the verb. The word after an option may be that option's value.
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i - 1]} in
            -c | --config | --color | --cpus | --kernel | --kernel-config | --btf | --release | --kind | --mode | --object | --program | --prometheus | --sample | --svg | --wait | --watch) continue ;;
        esac
        one=${COMP_WORDS[i]}
        [[ $one == -* ]] || { verb=$one && break; }
    done

    case $before in
        -c | --config | --prometheus | --kernel-config | --btf | --svg)
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        --color) list='auto always never' ;;
        --kind) list='open exec exit read http dns tls' ;;
        --mode) list='native generic any offload' ;;
        --cpus | --kernel | --release | --object | --program | --sample | --wait | --watch) ;;
        *)
            case $word in
                -*)
                    list='--config --boot --allow-untrusted --json --quiet --color --help --version'
                    case $verb in
                        apply) list+=' --dry-run' ;;
                        check) list+=' --probe' ;;
                        status) list+=' --count --prometheus --sample --watch' ;;
                        attach) list+=' --configured --mode --object --program --wait' ;;
                        detach) list+=' --object --program' ;;
                        events) list+=' --kind' ;;
                        estimate) list+=' --cpus --kernel' ;;
                        inspect) list+=' --load' ;;
                        report) list+=' --svg' ;;
                        preflight) list+=' --kernel-config --btf --release' ;;
                    esac
                    ;;
                *)
                    case $verb in
                        '') list=$verbs ;;
                        attach | detach) [[ $before != "$verb" ]] || list=$(ls /sys/class/net 2>/dev/null) ;;
                        render) [[ $before != "$verb" ]] || list='systemd docker compose kubernetes oci sysctl.d limits' ;;
                        estimate)
                            compopt -o filenames 2>/dev/null
                            mapfile -t COMPREPLY < <(compgen -f -- "$word")
                            return
                            ;;
                        report) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
                        run) compopt -o default 2>/dev/null; mapfile -t COMPREPLY < <(compgen -c -- "$word"); return ;;
                        inspect)
                            compopt -o filenames 2>/dev/null
                            mapfile -t COMPREPLY < <(compgen -W 'builtin:edge builtin:reads builtin:trace' -- "$word"; compgen -f -- "$word")
                            return
                            ;;
                        explain) [[ $before != "$verb" ]] || list=$(bpfboot explain 2>/dev/null | sed -n 's/^    //p') ;;
                        profiles) [[ $before != "$verb" ]] || list='core network tracing guide' ;;
                        help) [[ $before != "$verb" ]] || list=$verbs ;;
                    esac
                    ;;
            esac
            ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
}

complete -F _bpfboot bpfboot
